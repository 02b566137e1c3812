"""Weights & Biases: one run per network, with its identity as config; the runs of a sweep form one group."""

import dataclasses
import hashlib
import importlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from widebasin.sweep.errors import SweepError, UsageError, cannot_write
from widebasin.sweep.events import Epoch, Event, Failed, Finished, GroupFinished, GroupStarted, Started
from widebasin.sweep.trackers.json_lines import append_line, opened_log
from widebasin.sweep.trackers.run_names import RunNames, scalars
from widebasin.sweep.trackers.tracker import Tracker

if TYPE_CHECKING:
    from widebasin.sweep.cells import Cell

PROJECT = "widebasin"
# Modes that need no login.
OWN_MODES = ("offline", "dryrun", "disabled")
# Which epochs were sent: a run that is continued offline does not know it. And what tells this sweep from others.
SENT, SWEEP = "sent.jsonl", "sweep"


def _package() -> Any:
    """The package, imported on first use."""
    return importlib.import_module("wandb")


def check() -> None:
    """Raises ``UsageError`` if a run would ask for a login."""
    wandb = _package()

    try:
        ready = wandb.setup().settings.mode in OWN_MODES or wandb.login(prompt=False, verify=False)
    except (wandb.errors.Error, ValueError) as error:  # a bad setting is a ValueError of pydantic's
        why = " ".join(str(error).split())
        raise UsageError(
            "track", "wandb", f"cannot start ({why}); fix the settings, or run: wandb login --relogin"
        ) from error
    if not ready:
        raise UsageError(
            "track", "wandb", "is not logged in; log in once (wandb login), or store runs locally: WANDB_MODE=offline"
        )


class _WeightsAndBiases:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: RunNames | None = None
        self._sent: BinaryIO | None = None
        self._runs: dict[tuple[str, int], list[Any]] = {}

    def __call__(self, event: Event) -> None:
        """Sends the epochs that have not been sent yet."""
        wandb = _package()

        try:
            self._hear(event)
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        except wandb.errors.Error as error:
            raise SweepError(
                f"wandb: {error}; run the same command again to continue, with WANDB_MODE=offline to send it later "
                "(wandb sync), or without --track wandb"
            ) from error

    def _hear(self, event: Event) -> None:
        if isinstance(event, Started):
            self._names = RunNames(event.cells)
            self._sent, self._last = opened_log(self._folder / SENT)
            self._sweep = _identity(self._folder / SWEEP)
        elif isinstance(event, GroupStarted):
            # The group has begun before, by a process that has vanished: a run that is open cannot be opened again.
            for run in self._runs.pop((event.cell.name, event.group), ()):
                run.finish()
        elif isinstance(event, Epoch):
            self._send(event)
        elif isinstance(event, GroupFinished):
            for run in self._runs.pop((event.cell.name, event.group), ()):
                run.finish()
        elif isinstance(event, Finished | Failed):
            self._end(failed=isinstance(event, Failed))

    def _run(self, name: str, cell: "Cell", config: dict[str, Any]) -> Any:
        wandb = _package()

        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=self._folder.absolute().parent.name,
            job_type=cell.name,
            name=name,
            id=f"{self._sweep}-{hashlib.sha256(name.encode()).hexdigest()[:16]}",
            resume="allow",
            reinit="create_new",
            dir=self._folder.parent,
            config=config,
            # The machine's figures and what it prints belong to no single network.
            settings=wandb.Settings(
                console="off", silent=True, disable_code=True, disable_git=True, x_disable_stats=True
            ),
        )

    def _send(self, event: Epoch) -> None:
        assert self._sent is not None
        place, epoch = (event.cell.name, event.group), event.report.epoch
        if epoch <= self._last.get(place, 0):
            return
        if place not in self._runs:
            assert self._names is not None
            named = zip(event.points, _configs(event), strict=True)
            self._runs[place] = [self._run(self._names(event.cell, point), event.cell, one) for point, one in named]
        for network, run in enumerate(self._runs[place]):
            run.log(scalars(event.report, network), step=epoch)
        self._last[place] = epoch
        if not self._runs[place][0].disabled:
            append_line(self._sent, {"event": "epoch", "cell": place[0], "group": place[1], "epoch": epoch})

    def _end(self, failed: bool) -> None:
        runs, self._runs = self._runs, {}
        if self._sent is not None:
            self._sent.close()
            self._sent = None
        for run in (run for group in runs.values() for run in group):
            run.finish(exit_code=int(failed))


def _configs(event: Epoch) -> list[dict[str, Any]]:
    """The identity of networks and how they are trained."""
    from widebasin.sweep.rows import identity_rows

    recipe = dataclasses.asdict(event.cell.recipe) | {"m": event.cell.m}
    rows = identity_rows(event.cell, event.points).to_dict("records")
    return [recipe | {str(name): value for name, value in row.items()} for row in rows]


def _identity(file: Path) -> str:
    """A random id for the runs of a results folder: drawn once and kept in the folder."""
    if not file.exists() or not file.read_text().strip():
        file.write_text(secrets.token_hex(4))
    return file.read_text().strip()


TRACKER = Tracker("wandb", "one run per network, for Weights & Biases", _WeightsAndBiases, "wandb>=0.31", check)
