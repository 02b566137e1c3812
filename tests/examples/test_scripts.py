import re
import subprocess
import sys
from pathlib import Path

import pytest
from together import together

from widebasin.sweep.run import run
from widebasin.sweep.spec import Spec

EXAMPLES = Path(__file__).parents[2] / "examples"

LOOPS = ("plain_pytree", "equinox_batch_norm", "flax_nnx", "flax_train_state", "sharded_half_precision")
WORKLOADS = tuple(f"workload_{name}" for name in ("equinox", "flax_linen", "flax_nnx", "haiku", "plain"))


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*LOOPS, *WORKLOADS}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOOPS)
def test_trains_to_95_percent_on_held_out_digits(name):
    """Chance is 10%; a warning is an error."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    printed = re.search(r"test accuracy (0\.\d+)", finished.stdout)
    assert printed, finished.stdout
    assert 0.95 < float(printed[1]) < 1


@pytest.mark.slow
@together("name", WORKLOADS)
def test_a_workload_of_every_library_trains_by_sgd_and_sam(name, tmp_path):
    spec = Spec(workload=str(EXAMPLES / f"{name}.py"), widths=(4,), rhos=(0.05,), seeds=1, epochs=3)
    folder = run(spec, tmp_path / name)
    assert folder.results()["method"].tolist() == ["sgd", "sam"]
    losses = folder.history().pivot(index=["width", "method"], columns="epoch", values="train_loss")
    assert (losses[3] < 0.95 * losses[1]).all()
