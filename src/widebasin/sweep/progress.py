"""What a user sees while a sweep trains: a bar on a terminal, plain lines elsewhere, nothing with --quiet."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import rich.progress
from rich.console import Console

from widebasin.sam import METHODS
from widebasin.sweep.cells import Cell
from widebasin.training import EpochReport
from widebasin.workloads import WORKLOADS

# What compiling a program takes, in gradients times parameters times epochs: for judging the time left.
COMPILATION = 5e7
# Least time between two plain lines.
PLAIN_SECONDS = 10.0

Item = TypeVar("Item")


class Progress:
    """Is told what a sweep does, and says nothing."""

    def start(self, cells: Sequence[Cell]) -> None:
        """All that will be trained."""

    def skip(self, cell: Cell, networks: int) -> None:
        """A group that was finished before."""

    def begin(self, cell: Cell, networks: int) -> None:
        """A group starts."""

    def epoch(self, report: EpochReport) -> None:
        """An epoch of the group is done."""

    def end(self) -> None:
        """The group is finished and written."""

    def stop(self) -> None:
        """The sweep ends, finished or not."""


class _Counter:
    """Keeps account of work done, in gradients times parameters, the unit that time left is judged by."""

    def __init__(self) -> None:
        self.total = self.done = self.trained = 0.0
        self.networks = self.finished = 0
        self.cell: Cell | None = None
        self.group = 0
        self.started = time.perf_counter()
        self.images = 0.0

    def work(self, cell: Cell, networks: int) -> float:
        gradients = METHODS[cell.method].with_radius(0.0).gradients_per_step
        size = WORKLOADS[cell.workload].num_params(cell.width) * networks
        return size * gradients * cell.recipe.epochs + COMPILATION * networks / len(cell.replicates)

    def start(self, cells: Sequence[Cell]) -> None:
        self.of_cell = dict.fromkeys((cell.name for cell in cells), 0)
        self.total = sum(self.work(cell, len(cell.replicates)) for cell in cells)
        self.networks = sum(len(cell.replicates) for cell in cells)

    def skip(self, cell: Cell, networks: int) -> None:
        self.done += self.work(cell, networks)
        self.finished += networks
        self.of_cell[cell.name] += networks

    def begin(self, cell: Cell, networks: int) -> None:
        self.cell, self.group, self.begun_at = cell, networks, self.done

    def epoch(self, report: EpochReport) -> None:
        assert self.cell is not None
        share = self.work(self.cell, self.group) / self.cell.recipe.epochs
        self.done = self.begun_at + share * report.epoch
        if not report.resumed:
            self.trained += share
            steps = self.cell.train_examples // self.cell.recipe.batch_size
            self.images += self.group * steps * self.cell.recipe.batch_size

    def end(self) -> None:
        assert self.cell is not None
        self.done = self.begun_at + self.work(self.cell, self.group)
        self.finished += self.group
        self.of_cell[self.cell.name] += self.group

    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def seconds_left(self) -> float | None:
        if self.trained <= 0:
            return None
        return self.seconds() / self.trained * (self.total - self.done)

    def metrics(self, report: EpochReport) -> str:
        assert self.cell is not None
        objective = WORKLOADS[self.cell.workload].objective
        with np.errstate(all="ignore"):
            parts = [f"train loss {_mean(report.metrics['train_loss']):.3f}"]
            parts.append(f"valid {objective.best} {_mean(report.metrics[f'valid_{objective.best}']):.3f}")
        if report.diverged:
            parts.append(f"{report.diverged} diverged")
        return ", ".join(parts)


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _rate(number: float) -> str:
    return f"{number / 1e3:,.0f}k" if number >= 1e4 else f"{number:,.0f}"


def _networks(count: int) -> str:
    return f"{count} network{'s' * (count != 1)}"


def _title(cell: Cell) -> str:
    return f"{cell.workload} width {cell.width} {cell.method}"


class TerminalProgress(Progress):
    """One line at the bottom of a terminal: bar, networks, rate, time left, metrics of the running group."""

    def __init__(self, console: Console) -> None:
        self.counter = _Counter()
        self.bar = rich.progress.Progress(
            rich.progress.BarColumn(bar_width=12),
            rich.progress.TextColumn("{task.percentage:>3.0f}%"),
            rich.progress.TextColumn("{task.fields[left]}"),
            rich.progress.TextColumn("{task.description}"),
            rich.progress.TextColumn("[dim]{task.fields[metrics]}"),
            rich.progress.TextColumn("[dim]{task.fields[rate]}"),
            console=console,
            transient=True,
        )
        self.line = self.bar.add_task("compiling", total=1.0, rate="", left="", metrics="")

    def start(self, cells: Sequence[Cell]) -> None:
        """See ``Progress``."""
        self.counter.start(cells)
        self.bar.update(self.line, total=self.counter.total)
        self.bar.start()

    def skip(self, cell: Cell, networks: int) -> None:
        """See ``Progress``."""
        self.counter.skip(cell, networks)
        self.bar.update(self.line, completed=self.counter.done)

    def begin(self, cell: Cell, networks: int) -> None:
        """See ``Progress``."""
        self.counter.begin(cell, networks)
        self.bar.update(self.line, description=f"width {cell.width} {cell.method} x {networks}", metrics="compiling")

    def epoch(self, report: EpochReport) -> None:
        """See ``Progress``."""
        self.counter.epoch(report)
        left = self.counter.seconds_left()
        self.bar.update(
            self.line,
            completed=self.counter.done,
            rate=f"{_rate(self.counter.images / self.counter.seconds())} examples/s",
            left="" if left is None else f"{_duration(left)} left",
            metrics=self.counter.metrics(report),
        )

    def end(self) -> None:
        """See ``Progress``."""
        self.counter.end()
        self.bar.update(self.line, completed=self.counter.done)

    def stop(self) -> None:
        """See ``Progress``."""
        self.bar.stop()


class PlainProgress(Progress):
    """A line per finished cell, and one every few seconds within a long one."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.counter = _Counter()
        self.last_line = time.perf_counter()

    def start(self, cells: Sequence[Cell]) -> None:
        """See ``Progress``."""
        self.counter.start(cells)

    def skip(self, cell: Cell, networks: int) -> None:
        """See ``Progress``."""
        self.counter.skip(cell, networks)
        self._print(f"{_title(cell)}: {_networks(networks)} finished before")

    def begin(self, cell: Cell, networks: int) -> None:
        """See ``Progress``."""
        self.counter.begin(cell, networks)

    def epoch(self, report: EpochReport) -> None:
        """See ``Progress``."""
        self.counter.epoch(report)
        assert self.counter.cell is not None
        self.latest = self.counter.metrics(report)
        if time.perf_counter() - self.last_line > PLAIN_SECONDS:
            epochs = self.counter.cell.recipe.epochs
            self._print(f"{_title(self.counter.cell)}: epoch {report.epoch}/{epochs}, {self.latest}")

    def end(self) -> None:
        """See ``Progress``."""
        counter = self.counter
        counter.end()
        assert counter.cell is not None
        finished, all_of_cell = counter.of_cell[counter.cell.name], len(counter.cell.replicates)
        if finished == all_of_cell or time.perf_counter() - self.last_line > PLAIN_SECONDS:
            part = "" if finished == all_of_cell else f"{finished} of "
            self._print(f"{_title(counter.cell)}: {part}{_networks(all_of_cell)} trained, {self.latest}")

    def _print(self, text: str) -> None:
        counter = self.counter
        share = 100 * counter.done / counter.total
        left = counter.seconds_left()
        rest = f", {_duration(left)} left" if left is not None and share < 100 else ""
        self.console.print(
            f"[{share:3.0f}%] {text} ({_duration(counter.seconds())}{rest})",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        self.last_line = time.perf_counter()


def progress_for(console: Console, quiet: bool) -> Progress:
    """A bar on a terminal, plain lines elsewhere, nothing if quiet."""
    if quiet:
        return Progress()
    return TerminalProgress(console) if console.is_terminal else PlainProgress(console)


def tracker(console: Console, quiet: bool) -> Callable[[Sequence[Item], str], Iterator[Item]]:
    """``(items, title) -> items`` that shows how many are done: a bar on a terminal, plain lines elsewhere."""

    def track(items: Sequence[Item], title: str) -> Iterator[Item]:
        if console.is_terminal and not quiet:
            yield from rich.progress.track(items, title, console=console, transient=True)
            return
        last = time.perf_counter()
        for done, item in enumerate(items, start=1):
            yield item
            if not quiet and (done == len(items) or time.perf_counter() - last > PLAIN_SECONDS):
                console.print(f"{title}: {done} of {_networks(len(items))}", markup=False, highlight=False)
                last = time.perf_counter()

    return track


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
