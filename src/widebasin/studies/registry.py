"""The studies by name, as declared in ``studies.questions``."""

import importlib
import pkgutil

from widebasin.studies import questions
from widebasin.studies.questions.networks import STUDY as NETWORKS
from widebasin.studies.study import Study
from widebasin.sweep import Resolved, Spec, nearest_name


def declared() -> dict[str, Study]:
    """Module of ``studies.questions`` -> the study that it declares, in the order of the lists of studies."""
    names = [module.name for module in pkgutil.iter_modules(questions.__path__)]
    studies = {name: importlib.import_module(f"{questions.__name__}.{name}").STUDY for name in names}
    return dict(sorted(studies.items(), key=lambda item: item[1].order))


STUDIES: dict[str, Study] = {study.name: study for study in declared().values() if study.name}
"""The studies that can be named on the command line."""


def study_of(spec: Spec | Resolved) -> Study:
    """The study that a sweep belongs to, or the plain answer if it belongs to none."""
    if spec.study and spec.study not in STUDIES:
        raise nearest_name("study", spec.study, STUDIES)
    return STUDIES[spec.study] if spec.study else NETWORKS
