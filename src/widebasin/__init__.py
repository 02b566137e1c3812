"""widebasin: sharpness-aware minimization (SAM) under overparameterization.

The laboratory (``widebasin.laboratory``): ``study``, ``sweep``, ``cost``, ``train``, ``report``, ``compare``,
``measure``, ``status``, ``import_network`` and ``load_network`` do what the commands do; their errors are here too. The
subpackages, each usable alone: ``widebasin.sam`` (gradients of the perturbed loss), ``widebasin.curvature``,
``widebasin.theory``, ``widebasin.models``, ``widebasin.data``, ``widebasin.training``, ``widebasin.workloads``,
``widebasin.sweep``, ``widebasin.studies`` and ``widebasin.report``. Importing this package does not import the
subpackages.
"""

import importlib
import sys
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from widebasin.laboratory import (
        CheckpointError,
        DataError,
        Results,
        SweepError,
        UsageError,
        compare,
        cost,
        import_network,
        load_network,
        measure,
        report,
        status,
        study,
        sweep,
        train,
    )

__version__ = version("widebasin")

__all__ = [
    "CheckpointError",
    "DataError",
    "Results",
    "SweepError",
    "UsageError",
    "compare",
    "cost",
    "import_network",
    "load_network",
    "measure",
    "report",
    "status",
    "study",
    "sweep",
    "train",
]

# Names of the laboratory that are names of rooms too.
ROOMS = ("report", "sweep")


class _Room(ModuleType):
    """A subpackage that can also be called as a function: ``widebasin.sweep(...)`` beside ``widebasin.sweep.Spec``."""

    def __call__(self, *arguments: Any, **choices: Any) -> Any:
        return _laboratory(self.__name__.rpartition(".")[2])(*arguments, **choices)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name in ROOMS and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Imports subpackages and functions of the laboratory on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}") if name in ROOMS else _laboratory(name)


def _laboratory(name: str) -> Any:
    return getattr(importlib.import_module(f"{__name__}.laboratory"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
