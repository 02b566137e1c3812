"""Does SAM converge linearly where the network can interpolate? (Finding 9 of arXiv 2311.17539.)

Grid: a width that cannot interpolate and one that can x {SGD, unnormalized SAM at several radii} x seeds, at a constant
learning rate. Statistic: the rate per step, minus the slope of the logarithm of the training loss, fitted to the second
half of the steps, with its interval over seeds; and the rate that the theory guarantees, where it guarantees one.
"""

from widebasin.studies.study import Study, check_constant, check_one_setting
from widebasin.sweep import Resolved, Spec


def check(spec: Resolved) -> None:
    """Requires a constant learning rate, for a straight line in the logarithm, and one setting except for the width."""
    check_constant(spec, "otherwise the rate changes with the schedule")
    check_one_setting(spec, "widths")


STUDY = Study(
    name="convergence",
    order=6,
    question=(
        "Does stochastic SAM converge linearly where the network is large enough to interpolate, and only there?"
    ),
    spec=Spec(study="convergence", workload="matrix-factorization", methods=("sgd", "unnormalized-sam")),
    example="--workload least-squares --out results/convergence-least-squares",
    measures=True,
    curvature=True,
    check_setting=check,
    gains="none",
)
