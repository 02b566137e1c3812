"""The commands that read results folders: ``widebasin report``, ``compare`` and ``status``."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from widebasin.shown import say
from widebasin.studies import Options
from widebasin.studies.study import Epoch, Split
from widebasin.sweep.execution import DataFolder


@dataclass(frozen=True)
class Report:
    """Recreate the tables, figures and page of a sweep, without training.

    For an unfinished sweep: from the networks trained so far, on a separate page.

    Examples:
      widebasin report results/overparam
      widebasin report results/overparam --select test --at best
    """

    folder: tyro.conf.Positional[Path]
    """Results folder."""
    answer: tyro.conf.OmitArgPrefixes[Options] = field(default_factory=Options)
    data_dir: DataFolder = None
    """Folder of data sets, searched before the cache; needed if networks are still to be measured."""

    def run(self, console: Console) -> None:
        """Reads the tables of the folder and writes the answer again."""
        from widebasin.data.places import look_in
        from widebasin.studies.answering import print_answer, write_answer
        from widebasin.sweep.folder import ResultsFolder
        from widebasin.sweep.progress import tracker

        look_in(self.data_dir)
        folder = ResultsFolder(self.folder, "folder")
        print_answer(write_answer(folder, self.answer, tracker(console, quiet=False)), folder, console)
        if self.answer != Options():
            command = f"widebasin report {shlex.quote(str(self.folder))}"
            say(console, f"The files now use these options; for the defaults: {command}")


@dataclass(frozen=True)
class Compare:
    """Compare finished sweeps: their gains and the differences between them, paired by seed where sweeps share seeds.

    Examples:
      widebasin compare results/overparam results/wider
      widebasin compare results/a results/b results/c --select test --out results/compared
    """

    folders: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="FOLDER FOLDER [...]", help_behavior_hint="(required)"),
    ]
    """Results folders."""
    select: Annotated[Split, tyro.conf.arg(help="Split on which rho* is chosen.")] = "valid"
    at: Annotated[Epoch, tyro.conf.arg(help="Report the final epoch, or the best one on the validation split.")] = (
        "final"
    )
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: none is written)")] = None
    """Folder for a page and figures."""

    def run(self, console: Console) -> None:
        """Compares the sweeps and prints tables and findings."""
        from widebasin.laboratory import compare
        from widebasin.studies.answering import print_findings

        found = compare(*self.folders, out=self.out, select=self.select, at=self.at)
        print_findings(found.answer, console)
        if self.out is not None:
            say(console, f"Page, figures and tables: {self.out / 'compare.html'}")


@dataclass(frozen=True)
class Status:
    """Show the progress of a sweep: what is trained, in training and missing, and the command that continues it.

    Examples:
      widebasin status results/overparam
    """

    folder: tyro.conf.Positional[Path]
    """Results folder."""

    def run(self, console: Console) -> None:
        """Prints the table."""
        from widebasin.report.tables import Table
        from widebasin.studies.answering import continuing
        from widebasin.sweep.folder import ResultsFolder
        from widebasin.sweep.status import status_of

        folder = ResultsFolder(self.folder, "folder")
        status = status_of(folder)
        columns = ("width", *status.own, "method", "networks", "trained", "missing")
        rows = [tuple(map(str, row)) for row in status.parts[list(columns)].itertuples(index=False)]
        console.print(Table(f"{status.trained} of {status.networks} networks are trained", columns, tuple(rows)).rich())
        for group in status.begun:
            state = "In training" if status.holder else "Partly trained"
            say(console, f"{state}: {group.cell}, {group.epoch} of {group.epochs} epochs saved")
        if status.holder:
            say(console, f"In use by {status.holder}.")
        elif status.trained < status.networks:
            say(console, f"No process is training it now. To continue:  {continuing(folder)}")
        elif not folder.is_finished():
            say(console, f"All networks are trained. To make the tables:  {continuing(folder)}")
        else:
            say(console, f"Finished. To see the answer: widebasin report {shlex.quote(str(self.folder))}")
