"""The workloads by name, from the files in this folder."""

import dataclasses
import functools
import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from widebasin.workloads.arrays import arrays_workload, names_arrays
from widebasin.workloads.family import Family
from widebasin.workloads.files import file_workload, names_file
from widebasin.workloads.tables import names_table, table_workload
from widebasin.workloads.workload import Workload

# Packages make their workloads known by entry points of this group.
GROUP = "widebasin.workloads"


class Workloads(dict[str, Workload]):
    """The workloads of this package and of other packages by name, and a user's own by file name."""

    def __contains__(self, name: object) -> bool:
        """Whether it is the name of a workload, or of a file, which may be missing or unreadable."""
        if super().__contains__(name) or not isinstance(name, str):
            return super().__contains__(name)
        if _family(name) is not None or name in _of_packages():
            return True
        return names_arrays(name) or names_table(name) or names_file(name)

    def __missing__(self, name: str) -> Workload:
        """The workload of a family, of a file, or of another package."""
        if family := _family(name):
            return family.of(name.partition(":")[2])
        if names_arrays(name):
            return arrays_workload(name)
        if names_table(name):
            return table_workload(name)
        if names_file(name):
            return file_workload(name)
        if name in _of_packages():
            return _package_workload(name)
        raise KeyError(name)


@functools.cache
def _of_packages() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@functools.cache
def _package_workload(name: str) -> Workload:
    """The workload of an entry point; ``ValueError`` if it is not a workload."""
    point = _of_packages()[name]
    try:
        found = point.load()
    except Exception as error:
        raise ValueError(f"the entry point {point.value} cannot be loaded: {error}") from error
    if isinstance(found, Workload):
        return dataclasses.replace(found, name=name)
    raise ValueError(f"the entry point {point.value} must be a Workload, got {type(found).__name__}")


# Embedded data first, and digits-mlp, which is everyone's default, before all.
FIRST = (
    "digits-mlp",
    "digits-resnet",
    "digits-vit",
    "digits-vgg11-lazy",
    "digits-squared-mlp",
    "synthetic-mlp",
    "phrases-lstm",
    "grammar-transformer",
    "rings-gcn",
    "cartpole-ppo",
)


def _found(kind: type[Any]) -> list[Any]:
    """Everything of a kind that a module of this folder defines."""
    here = pkgutil.iter_modules([str(Path(__file__).parent)])
    modules = [importlib.import_module(f"{__package__}.{one.name}") for one in here if one.name != "registry"]
    return list(dict.fromkeys(v for module in modules for v in vars(module).values() if isinstance(v, kind)))


def _listed() -> list[Workload]:
    order = {name: position for position, name in enumerate(FIRST)}
    return sorted(_found(Workload), key=lambda one: (order.get(one.name, len(order)), one.name))


WORKLOADS = Workloads((workload.name, workload) for workload in _listed())
FAMILIES: dict[str, Family] = {family.name: family for family in _found(Family)}


def _family(name: str) -> Family | None:
    head, colon, _ = name.partition(":")
    return FAMILIES.get(head) if colon else None
