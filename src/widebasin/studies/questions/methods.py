"""Which method of the SAM family gains most for its number of gradients?

Grid: one width x every method at every radius x seeds, each trained for as many gradients as SAM takes in the recipe's
epochs (SGD twice as long, LookSAM 1.7 times as long). Statistic: every method's gain over SGD on the test split at its
own radius chosen on validation, paired by seed; and the same against SAM.
"""

from widebasin.studies.study import Study, check_one_setting
from widebasin.sweep import Resolved, Spec


def check(spec: Resolved) -> None:
    """Requires one setting: methods are compared with each other, not across sizes."""
    check_one_setting(spec, "methods", besides=("widths",))


STUDY = Study(
    name="methods",
    order=5,
    question="Which method of the SAM family gains most over SGD for the gradients that it takes?",
    spec=Spec(
        study="methods",
        widths=(64,),
        methods=(
            "sgd",
            "sam",
            "unnormalized-sam",
            "multi-step-sam",
            "random-perturbation",
            "asam",
            "gsam",
            "looksam",
            "sam-every-5",
            "esam",
            "friendly-sam",
            "wsam",
            "ssam",
            "random-ssam",
        ),
        rhos=(0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
        budget="gradients",
    ),
    example="--methods sgd sam looksam asam --widths 128 --seeds 10 --out results/four",
    check_setting=check,
)
