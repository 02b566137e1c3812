"""The command ``widebasin list``: what there is to choose from."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console

from widebasin.studies import STUDIES
from widebasin.sweep.executors import EXECUTORS

if TYPE_CHECKING:
    from widebasin.workloads import Workload


@dataclass(frozen=True)
class List:
    """List the available studies, workloads, methods, optimizers, parametrizations and executors.

    Examples:
      widebasin list
      widebasin list workloads
    """

    what: tyro.conf.Positional[
        Literal["all", "studies", "workloads", "methods", "optimizers", "parametrizations", "executors"]
    ] = "all"
    """What to list."""

    def run(self, console: Console) -> None:
        """Prints the tables."""
        from widebasin.report.tables import Table

        if self.what in ("all", "studies"):
            rows = tuple((study.name, study.question) for study in STUDIES.values())
            console.print(Table("Studies (widebasin study NAME)", ("name", "question"), rows).rich("left"))
        if self.what in ("all", "workloads"):
            from widebasin.workloads import FAMILIES, WORKLOADS

            rows = tuple(
                (
                    w.name,
                    w.description,
                    " ".join(map(str, w.widths)),
                    _parameters(w),
                    " ".join(f"{rho:g}" for rho in w.rhos),
                    _in_words(w),
                )
                for w in WORKLOADS.values()
            )
            columns = ("name", "what", "widths", "parameters", "radii", "recipe")
            families = "; ".join(f"{one.name}:DATA, where DATA is {one.data}" for one in FAMILIES.values())
            note = f"On other data: {families}. Your own: FILE.npz, FILE.csv, FILE.parquet, FILE.py."
            console.print(Table("Workloads (--workload NAME)", columns, rows, note).rich("left"))
        if self.what in ("all", "methods"):
            from widebasin.sam import METHODS

            rows = tuple(
                (name, method.summary, f"{method.with_radius(0.0).gradients_per_step:.3g}")
                for name, method in METHODS.items()
            )
            columns = ("name", "description", "gradients per step")
            console.print(Table("Methods (--methods NAME ...)", columns, rows).rich("left"))
        if self.what in ("all", "optimizers"):
            from widebasin.training import OPTIMIZERS

            rows = tuple((name, optimizer.title, optimizer.summary) for name, optimizer in OPTIMIZERS.items())
            columns = ("name", "title", "what")
            console.print(Table("Base optimizers (--optimizer NAME)", columns, rows).rich("left"))
        if self.what in ("all", "parametrizations"):
            from widebasin.parametrization import PARAMETRIZATIONS

            title = "Parametrizations (--parametrization NAME ...)"
            console.print(
                Table(title, ("name", "what follows the width"), tuple(PARAMETRIZATIONS.items())).rich("left")
            )
        if self.what in ("all", "executors"):
            rows = tuple((name, executor.summary) for name, executor in EXECUTORS.items())
            console.print(Table("Executors (--executor NAME)", ("name", "where it trains"), rows).rich("left"))
            rows = tuple(
                (name, option.name, str(option.default), option.metadata["summary"])
                for name, executor in EXECUTORS.items()
                for option in dataclasses.fields(executor)
            )
            columns = ("executor", "option", "default", "what")
            title = "Options of executors (--executor-options OPTION=VALUE ...)"
            console.print(Table(title, columns, rows).rich("left"))


def _parameters(workload: "Workload") -> str:
    """Numbers of parameters of the smallest and the largest network."""
    from widebasin.data.errors import DataError

    try:
        return " to ".join(
            dict.fromkeys(f"{workload.num_params(width):,}" for width in (workload.widths[0], workload.widths[-1]))
        )
    except DataError:  # vocabularies are part of the data
        return "known with its data"


def _in_words(workload: "Workload") -> str:
    """The recipe of a workload."""
    from widebasin.training.optimizers import OPTIMIZERS

    recipe = workload.recipe
    optimizer = OPTIMIZERS[recipe.optimizer]
    parts = (
        f"{recipe.epochs} epochs, batch {recipe.batch_size}, {optimizer.title}, learning rate {recipe.learning_rate:g} "
        f"({recipe.schedule})",
        f"momentum {recipe.momentum:g}" if optimizer.has_momentum else "",
        f"weight decay {recipe.weight_decay:g}",
        f"{100 * workload.label_noise:g}% wrong labels" if workload.label_noise else "",
    )
    return ", ".join(filter(None, parts))
