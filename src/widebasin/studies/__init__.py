"""Studies: one file per question, with its grid, statistic and figures. All of them train through ``sweep``."""

from widebasin.studies.registry import STUDIES
from widebasin.studies.study import Options, Study

__all__ = ["STUDIES", "Options", "Study"]
