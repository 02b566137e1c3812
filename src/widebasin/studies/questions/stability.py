"""Are the minima of SAM flatter and more uniform, and are they stable? (Finding 8 of arXiv 2311.17539.)

Grid: an MLP with squared error, trained one example at a time to a small loss by SGD and by unnormalized SAM (the
variant in the theory) at several radii x seeds. Measured on a random subset of the training examples: sharpness,
non-uniformity of the per-sample Hessians, the largest eigenvalue of condition (6) at the learning rate of training and
at multiples of it, and the linearized dynamics simulated. Statistic: ratios to SGD paired by seed, and the slope
against the radius.
"""

from widebasin.studies.study import Study, check_constant, check_one_setting
from widebasin.sweep import Resolved, Spec


def check(spec: Resolved) -> None:
    """Requires one setting with a constant learning rate: radii are compared with each other."""
    check_constant(spec, "stability is tested at the training learning rate")
    check_one_setting(spec, "radii", besides=("widths",))


STUDY = Study(
    name="stability",
    order=7,
    question=(
        "Are the minima of SAM flatter than those of SGD, with more uniform Hessians, and are they linearly stable?"
    ),
    spec=Spec(study="stability", workload="digits-squared-mlp", widths=(32,), methods=("sgd", "unnormalized-sam")),
    example="--widths 16 --rhos 0.001 0.005 --seeds 3 --out results/stability-16",
    measures=True,
    curvature=True,
    check_setting=check,
    gains="none",
)
