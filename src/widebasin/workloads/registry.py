"""The workloads by name."""

from widebasin.workloads.digits_mlp import DIGITS_MLP
from widebasin.workloads.synthetic_mlp import SYNTHETIC_MLP
from widebasin.workloads.workload import Workload

WORKLOADS: dict[str, Workload] = {w.name: w for w in (DIGITS_MLP, SYNTHETIC_MLP)}
