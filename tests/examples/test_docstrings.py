import subprocess
import sys

import pytest

# In a process of its own: the type checks of the test run hide the examples of decorated functions.
RUN_DOCTESTS = """
import doctest, importlib, pkgutil
import widebasin

failed = attempted = 0
for module in pkgutil.walk_packages(widebasin.__path__, "widebasin."):
    if module.name.endswith("__main__"):
        continue
    try:
        imported = importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name != "torch":  # which the benchmarks compare with where it is installed
            raise
        continue
    result = doctest.testmod(imported)
    failed, attempted = failed + result.failed, attempted + result.attempted
print(f"{failed} of {attempted} failed")
"""


@pytest.mark.slow
def test_the_examples_in_docstrings_give_what_they_say():
    finished = subprocess.run([sys.executable, "-c", RUN_DOCTESTS], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    failed, _, attempted, _ = finished.stdout.splitlines()[-1].split()
    assert int(failed) == 0, finished.stdout
    assert int(attempted) >= 10
