"""Workloads: data, model and recipe by name, one file each."""

from widebasin.workloads.registry import WORKLOADS
from widebasin.workloads.workload import Settings, Workload

__all__ = ["WORKLOADS", "Settings", "Workload"]
