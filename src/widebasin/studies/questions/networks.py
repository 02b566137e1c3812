"""A sweep that belongs to no study: what did its networks reach, and how did they learn?"""

from widebasin.studies.study import Study
from widebasin.sweep import Spec

STUDY = Study(
    question="What did the networks of this sweep reach?",
    spec=Spec(),
    answered_by="networks",
    compares=False,
)
