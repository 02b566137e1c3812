"""Workloads: data, model and recipe under a name, one file each."""

from widebasin.workloads.agent import AgentWorkload
from widebasin.workloads.family import Family
from widebasin.workloads.registry import FAMILIES, WORKLOADS
from widebasin.workloads.workload import PARAMETRIZATION, Settings, SupervisedWorkload, Workload

__all__ = [
    "FAMILIES",
    "PARAMETRIZATION",
    "WORKLOADS",
    "AgentWorkload",
    "Family",
    "Settings",
    "SupervisedWorkload",
    "Workload",
]
