"""Does label noise make the effect stronger? (Finding 6 of arXiv 2311.17539.)

Grid: widths x {SGD, SAM at every radius} x fractions of wrong training labels x seeds. Statistic: that of ``overparam``
at every fraction of wrong labels; and the difference of the gain's slopes between the largest and the smallest
fraction.
"""

from widebasin.studies.study import Study, check_one_setting
from widebasin.sweep import Resolved, Spec


def check(spec: Resolved) -> None:
    """Requires one setting except for the fraction of wrong labels, so that slopes have one difference."""
    check_one_setting(spec, "fractions of wrong labels", varied=("label_noise",))


STUDY = Study(
    name="label-noise",
    order=2,
    question="Does the gain of SAM over SGD grow more with the number of parameters when more labels are wrong?",
    spec=Spec(study="label-noise", label_noise=(0.0, 0.2, 0.4, 0.6)),
    of_examples=True,
    check_setting=check,
)
