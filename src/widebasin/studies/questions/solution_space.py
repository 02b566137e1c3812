"""Does SAM reach different solutions in a wider network? (Finding 10 of arXiv 2311.17539.)

Grid: one hidden layer of 10 and of 100 ReLU neurons on twelve points of a line, full batch, by gradient descent and
by SAM x seeds. Measured: the functions on a grid, the parameters, the curvature at the end. Statistic: the distance
between the functions that gradient descent and SAM reach from one initialization, and how it differs between widths.
"""

from widebasin.studies.study import Study, check_one_setting
from widebasin.sweep import Resolved, Spec


def check(spec: Resolved) -> None:
    """Requires one setting except for the width."""
    check_one_setting(spec, "widths")


STUDY = Study(
    name="solution-space",
    order=9,
    question=(
        "Do gradient descent and SAM reach other solutions where the network is wide, and alike ones where it is not?"
    ),
    spec=Spec(study="solution-space", workload="line-mlp", methods=("sgd", "sam")),
    example="--widths 5 10 20 50 100 --rhos 0.1 0.3 --seeds 10 --out results/more-widths",
    measures=True,
    curvature=True,
    input_shape=(1,),
    check_setting=check,
    gains="none",
)
