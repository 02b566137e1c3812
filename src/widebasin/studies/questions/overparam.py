"""Does SAM help more as the network grows? (Findings 1 to 3 of arXiv 2311.17539.)

Grid: the widths of a workload x {SGD, SAM at every radius} x seeds. Statistic: per width, SAM's gain over SGD on the
test split at the radius chosen on validation, paired by seed; and the gain's slope per tenfold parameters.
"""

from widebasin.studies.study import Study
from widebasin.sweep import Spec

STUDY = Study(
    name="overparam",
    order=1,
    question="Does the gain of SAM over SGD grow with the number of parameters?",
    spec=Spec(study="overparam"),
)
