"""Executors: where a sweep is trained; one file per kind."""

from widebasin.sweep.executors.executor import Executor, Job
from widebasin.sweep.executors.registry import EXECUTORS, executor_of

__all__ = ["EXECUTORS", "Executor", "Job", "executor_of"]
