"""Workloads: data, model and recipe under a name, one file each."""

from widebasin.workloads.registry import WORKLOADS
from widebasin.workloads.workload import Settings, SupervisedWorkload, Workload

__all__ = ["WORKLOADS", "Settings", "SupervisedWorkload", "Workload"]
