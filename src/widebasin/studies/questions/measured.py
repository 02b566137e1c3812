"""The question of ``widebasin measure``: what is the curvature of the trained networks in a results folder?"""

from widebasin.studies.study import Study
from widebasin.sweep import Spec

STUDY = Study(
    question="How sharp are the minima of these networks, how uneven their Hessians, and are they linearly stable?",
    spec=Spec(),
    answered_by="measured",
    compares=False,
    measures=True,
    curvature=True,
    page="measure.html",
)
