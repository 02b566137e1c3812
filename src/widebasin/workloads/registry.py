"""The workloads by name: those of the files in this folder."""

import importlib
import pkgutil
from pathlib import Path

from widebasin.workloads.arrays import arrays_workload, names_arrays
from widebasin.workloads.workload import Workload


class Workloads(dict[str, Workload]):
    """The workloads that have a name; and a user's own arrays, by the name of their file."""

    def __contains__(self, name: object) -> bool:
        """Whether it is a workload's name, or that of a file of arrays, which may yet be missing or unreadable."""
        return super().__contains__(name) or (isinstance(name, str) and names_arrays(name))

    def __missing__(self, name: str) -> Workload:
        """The workload of a file of arrays."""
        if names_arrays(name):
            return arrays_workload(name)
        raise KeyError(name)


# Embedded data first, and digits-mlp, which is everyone's default, before all.
FIRST = ("digits-mlp", "digits-resnet", "digits-vit", "digits-vgg11-lazy", "digits-squared-mlp", "synthetic-mlp")


def _found() -> list[Workload]:
    """Every workload that a module of this folder defines, in the order in which they are listed."""
    here = pkgutil.iter_modules([str(Path(__file__).parent)])
    modules = [importlib.import_module(f"{__package__}.{one.name}") for one in here if one.name != "registry"]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Workload)]
    order = {name: position for position, name in enumerate(FIRST)}
    return sorted(dict.fromkeys(found), key=lambda one: (order.get(one.name, len(order)), one.name))


WORKLOADS = Workloads((workload.name, workload) for workload in _found())
