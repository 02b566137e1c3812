"""Is enough regularization needed for SAM to help more as the network grows? (Finding 4 of arXiv 2311.17539.)

Grid: widths x {SGD, SAM at every radius} x weight decays x seeds. Every network is evaluated twice: at the last epoch,
and stopped early, at its best validation epoch. Statistic: that of ``overparam`` for every weight decay and epoch; the
difference of the gain's slopes between the smallest and the largest weight decay, and between the epochs.
"""

from widebasin.studies.study import Study, check_one_setting
from widebasin.sweep import Resolved, Spec


def check(spec: Resolved) -> None:
    """Requires one setting except for weight decay, so that slopes have one difference."""
    check_one_setting(spec, "weight decays", varied=("weight_decay",))


STUDY = Study(
    name="regularization",
    order=3,
    question="Does the gain of SAM over SGD need weight decay or early stopping to grow with the number of parameters?",
    spec=Spec(study="regularization", weight_decay=(0.0, 0.003)),
    example="--weight-decay 0 1e-4 1e-3 --out results/three-decays",
    check_setting=check,
    gains="both",
)
