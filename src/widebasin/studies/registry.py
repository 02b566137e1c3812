"""The studies by name."""

from widebasin.studies.convergence import CONVERGENCE
from widebasin.studies.label_noise import LABEL_NOISE
from widebasin.studies.linearized import LINEARIZED
from widebasin.studies.methods import METHODS_STUDY
from widebasin.studies.networks import NETWORKS
from widebasin.studies.overparam import OVERPARAM
from widebasin.studies.regularization import REGULARIZATION
from widebasin.studies.solution_space import SOLUTION_SPACE
from widebasin.studies.sparsity import SPARSITY
from widebasin.studies.stability import STABILITY
from widebasin.studies.study import Study
from widebasin.sweep import Resolved, Spec, nearest_name

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        OVERPARAM,
        LABEL_NOISE,
        REGULARIZATION,
        SPARSITY,
        METHODS_STUDY,
        CONVERGENCE,
        STABILITY,
        LINEARIZED,
        SOLUTION_SPACE,
    )
}


def study_of(spec: Spec | Resolved) -> Study:
    """The study that a sweep belongs to, or the plain answer for a sweep of its own."""
    if spec.study and spec.study not in STUDIES:
        raise nearest_name("study", spec.study, STUDIES)
    return STUDIES[spec.study] if spec.study else NETWORKS
