import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


NAMES = ("plain_pytree", "equinox_batch_norm", "flax_nnx", "sharded_half_precision")


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_trains_to_95_percent_on_held_out_digits(name):
    """Chance is 10%; a warning is an error."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    printed = re.search(r"test accuracy (0\.\d+)", finished.stdout)
    assert printed, finished.stdout
    assert 0.95 < float(printed[1]) < 1
