"""The command ``widebasin data``: data sets on this machine."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Union

import rich.progress
import tyro
from rich.console import Console

from widebasin.shown import say
from widebasin.sweep import UsageError, nearest_name
from widebasin.sweep.execution import DataFolder

if TYPE_CHECKING:
    from widebasin.data.catalogue import DatasetSource


@dataclass(frozen=True)
class ListCommand:
    """List the data sets that have a name, and where they are on this machine.

    Examples:
      widebasin data list
      widebasin data list --data-dir /scratch/data
    """

    data_dir: DataFolder = None
    """Where to look first; the cache is looked into next."""

    def run(self, console: Console) -> None:
        """Prints the table."""
        from widebasin.data.catalogue import DATASETS
        from widebasin.data.places import look_in
        from widebasin.report.tables import Table

        look_in(self.data_dir)
        rows = []
        for source in DATASETS.values():
            found = source.find()
            rows.append(
                (
                    source.name,
                    f"{source.title}: {source.description}",
                    " + ".join(f"{examples:,}" for examples in source.examples),
                    source.shape,
                    _megabytes(source.size) if source.files else "no",
                    "not here" if found is None else f"{found.path} ({found.kind})",
                )
            )
        columns = ("name", "what", "examples", "shape", "download", "where")
        note = (
            "Examples: training + test, or training + validation + test. Download: widebasin data fetch NAME, which "
            "says how to get what cannot be downloaded."
        )
        console.print(Table("Data sets", columns, tuple(rows), note).rich("left"))


@dataclass(frozen=True)
class FetchCommand:
    """Download data sets, verified by their published checksums. An interrupted download goes on where it was.

    Into a folder of their name in --data-dir or $WIDEBASIN_DATA, or else in the cache. What is here and sound is not
    downloaded again.

    Examples:
      widebasin data fetch mnist
      widebasin data fetch cifar10 cifar100 --data-dir /scratch/data
    """

    names: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME [NAME ...]", help_behavior_hint="(required)")
    ]
    """Data sets, as widebasin data list names them."""
    data_dir: DataFolder = None
    """Folder of data sets."""
    quiet: bool = False
    """No progress."""

    def run(self, console: Console) -> None:
        """Downloads them one after the other."""
        from widebasin.data.places import look_in

        look_in(self.data_dir)
        if not self.names:
            raise UsageError("names", self.names, "give at least one; widebasin data list shows them")
        for source in _sources(self.names):
            with _progress(console, self.quiet) as report:
                found = source.fetch(report)
            say(console, f"{source.title} is here: {found.path}")


@dataclass(frozen=True)
class CheckCommand:
    """Read data sets wholly: checksums where published, shapes, numbers of examples.

    Examples:
      widebasin data check
      widebasin data check mnist cifar10 --data-dir /scratch/data
    """

    names: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[NAME ...]", help_behavior_hint="(default: all that are here)"),
    ] = ()
    """Data sets, as widebasin data list names them."""
    data_dir: DataFolder = None
    """Where to look first; the cache is looked into next."""

    def run(self, console: Console) -> None:
        """Checks one after the other, and fails at the end if one of them did."""
        from widebasin.data.catalogue import DATASETS
        from widebasin.data.errors import DataError
        from widebasin.data.places import look_in

        look_in(self.data_dir)
        here = tuple(name for name, source in DATASETS.items() if source.find() is not None)
        names = self.names or here
        if not names:
            raise DataError("no data set is here; widebasin data list says where they are looked for")
        faults = []
        for source in _sources(names):
            try:
                self._check(source, console)
            except DataError as error:
                faults.append(f"{source.name}: {error}")
                say(console, f"{source.title}: broken")
        if faults:
            raise DataError("; ".join(faults))

    def _check(self, source: "DatasetSource", console: Console) -> None:
        with console.status(f"reading {source.title}"):
            data, found, contents = source.check()
        say(console, f"{data.name}: sound ({found.path}, {found.kind}): {contents}")


COMMANDS = {"list": ListCommand, "fetch": FetchCommand, "check": CheckCommand}


def _data_subcommand(name: str, command: Any) -> Any:
    return Annotated[command, tyro.conf.subcommand(name, description=inspect.getdoc(command))]


@dataclass(frozen=True)
class DataCommand:
    """List, download and check data sets: MNIST, Fashion-MNIST, CIFAR, ImageNet, SST-2, treebanks.

    Examples:
      widebasin data list
      widebasin data fetch mnist
      widebasin data check
    """

    action: Union[tuple(_data_subcommand(name, command) for name, command in COMMANDS.items())]  # type: ignore[valid-type]  # noqa: UP007
    """What to do."""

    def run(self, console: Console) -> None:
        """Does it."""
        self.action.run(console)


def _sources(names: tuple[str, ...]) -> "list[DatasetSource]":
    from widebasin.data.catalogue import DATASETS

    for name in names:
        if name not in DATASETS:
            raise nearest_name("names", name, DATASETS)
    return [DATASETS[name] for name in names]


@contextlib.contextmanager
def _progress(console: Console, quiet: bool) -> "Iterator[Callable[[str, int, int | None], None]]":
    """What is told how far a download is: a bar per file on a terminal, a line per file elsewhere."""
    if quiet:
        yield lambda name, done, total: None
    elif not console.is_terminal:

        def tell(name: str, done: int, total: int | None) -> None:
            if done == total:
                say(console, f"{name}: {_megabytes(done)}")

        yield tell
    else:
        columns = (
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(bar_width=20),
            rich.progress.DownloadColumn(),
            rich.progress.TransferSpeedColumn(),
            rich.progress.TimeRemainingColumn(),
        )
        with rich.progress.Progress(*columns, console=console) as bars:
            lines: dict[str, rich.progress.TaskID] = {}

            def advance(name: str, done: int, total: int | None) -> None:
                if name not in lines:
                    lines[name] = bars.add_task(name)
                bars.update(lines[name], completed=done, total=total)

            yield advance


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
