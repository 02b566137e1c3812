"""Shows progress while a sweep trains: a bar on a terminal, plain lines elsewhere, nothing with --quiet.

Both are listeners to the events of a sweep.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import rich.progress
from rich.console import Console
from rich.table import Column
from rich.text import Text

from widebasin.sam import method_named
from widebasin.shown import say, shown
from widebasin.sweep.cells import Cell
from widebasin.sweep.events import Epoch, Event, Failed, Finished, GroupFinished, GroupStarted, Listener, Started
from widebasin.sweep.units import duration
from widebasin.training import EpochReport
from widebasin.workloads import WORKLOADS

# What compiling a program takes, in gradients times parameters times epochs: for judging the time left.
COMPILATION = 5e7
# Least time between two plain lines.
PLAIN_SECONDS = 10.0
# What a group of networks does at first.
BEGINNING = "compiling, then the first epoch"
# Letters of a bar.
BAR = 12

Item = TypeVar("Item")


class _Counter:
    """Tracks the work done, in gradients times parameters, to estimate the time left."""

    def __init__(self) -> None:
        self.total = self.trained = self.behind = 0.0
        # Cell and number of a group in training -> the work done for it.
        self.under_way: dict[tuple[str, int], float] = {}
        self.networks = self.finished = 0
        self.varied: set[str] = set()
        self.started = time.perf_counter()
        self.images = 0.0
        # Seconds and work when the first epoch of this process ended: what comes before it is no training.
        self.first: tuple[float, float] | None = None

    def work(self, cell: Cell, networks: int) -> float:
        gradients = method_named(cell.method).with_radius(0.0).gradients_per_step
        size = cell.dense_params * networks
        return size * gradients * cell.recipe.epochs + COMPILATION * networks / len(cell.points)

    def count(self, event: Event) -> None:
        """Updates the counts for an event."""
        if isinstance(event, Started):
            self._start(event.cells)
        elif isinstance(event, Epoch):
            self._epoch(event)
        elif isinstance(event, GroupFinished):
            self.under_way.pop((event.cell.name, event.group), None)
            self.behind += self.work(event.cell, event.networks)
            self.finished += event.networks
            self.of_cell[event.cell.name] += event.networks

    def _start(self, cells: Sequence[Cell]) -> None:
        self.of_cell = dict.fromkeys((cell.name for cell in cells), 0)
        self.total = sum(self.work(cell, len(cell.points)) for cell in cells)
        self.networks = sum(len(cell.points) for cell in cells)
        own = {(name, value) for cell in cells for name, value in cell.settings.own}
        names = [name for name, _ in own]
        self.varied = {name for name in names if names.count(name) > 1}

    def title(self, cell: Cell) -> str:
        """The cell in words; of the workload's own axes only those that vary in the sweep."""
        own = "".join(f" {name} {value}" for name, value in cell.settings.own if name in self.varied)
        return f"{cell.workload} width {cell.width}{own} {' and '.join(cell.methods)}"

    @property
    def done(self) -> float:
        """The work done."""
        return self.behind + sum(self.under_way.values())

    def _epoch(self, event: Epoch) -> None:
        cell, report = event.cell, event.report
        share = self.work(cell, event.networks) / cell.recipe.epochs
        self.under_way[cell.name, event.group] = share * report.epoch
        if not report.resumed:
            self.trained += share
            self.first = self.first or (self.seconds(), self.trained)
            steps = (cell.settings.train_examples or 0) // cell.recipe.batch_size
            self.images += event.networks * steps * cell.recipe.batch_size

    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def seconds_left(self) -> float | None:
        """Seconds left at the speed since the first epoch; ``None`` before the second one."""
        if self.first is None or self.trained <= self.first[1]:
            return None
        seconds, trained = self.first
        return (self.seconds() - seconds) / (self.trained - trained) * (self.total - self.done)

    @staticmethod
    def metrics(cell: Cell, report: EpochReport) -> str:
        judged = WORKLOADS[cell.workload].metrics[0].name
        with np.errstate(all="ignore"):
            parts = [f"train loss {_mean(report.metrics['train_loss']):.3f}"]
            parts.append(f"valid {judged} {_mean(report.metrics[f'valid_{judged}']):.3f}")
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


class _Words(rich.progress.ProgressColumn):
    """The text beside a bar, most important first, because a narrow terminal cuts off the end."""

    def render(self, task: rich.progress.Task) -> Text:
        fields = task.fields
        parts = (f"{task.percentage:>3.0f}%", duration(task.elapsed or 0.0), fields["left"], shown(task.description))
        text = Text(" ".join(part for part in parts if part), no_wrap=True, overflow="ellipsis")
        for part in (fields["doing"], fields["rate"]):
            text.append(f" {shown(part)}" if part else "", "dim")
        return text


def _line(console: Console) -> rich.progress.Progress:
    """A bar with text in the last line of a terminal; the clock keeps running between events."""
    bar = rich.progress.BarColumn(bar_width=BAR, table_column=Column(width=BAR))
    return rich.progress.Progress(bar, _Words(table_column=Column()), console=console, transient=True)


class TerminalProgress:
    """Progress on a terminal: bar, time, time left, group of networks, metrics or current activity, rate."""

    def __init__(self, console: Console) -> None:
        self.counter = _Counter()
        self.bar = _line(console)
        self.line = self.bar.add_task("", total=1.0, left="", doing="starting", rate="")

    def __call__(self, event: Event) -> None:
        """Shows what an event changes."""
        counter = self.counter
        counter.count(event)
        if isinstance(event, Started):
            self.bar.update(self.line, total=counter.total)
            self.bar.start()
        elif isinstance(event, GroupStarted):
            cell = event.cell
            title = f"width {cell.width} {' and '.join(cell.methods)} x {event.networks}"
            self.bar.update(self.line, description=title, doing=BEGINNING)
        elif isinstance(event, Epoch):
            left = counter.seconds_left()
            self.bar.update(
                self.line,
                completed=counter.done,
                rate=f"{_rate(counter.images / counter.seconds())} examples/s",
                left="" if left is None else f"{duration(left)} left",
                doing=counter.metrics(event.cell, event.report),
            )
        elif isinstance(event, GroupFinished):
            self.bar.update(self.line, completed=counter.done)
        elif isinstance(event, Finished | Failed):
            self.bar.stop()


class PlainProgress:
    """Progress as plain lines: at the start, for every finished cell, and every few seconds within a long cell."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.counter = _Counter()
        self.begun = False
        self.last_line = time.perf_counter()

    def __call__(self, event: Event) -> None:
        """Prints a line for an event, if one is due."""
        counter = self.counter
        counter.count(event)
        long_ago = time.perf_counter() - self.last_line > PLAIN_SECONDS
        if isinstance(event, GroupStarted) and not self.begun:
            self.begun = True
            self._print(f"{counter.title(event.cell)}: {BEGINNING}")
        elif isinstance(event, Epoch):
            self.latest = counter.metrics(event.cell, event.report)
            if long_ago:
                epochs = event.cell.recipe.epochs
                self._print(f"{counter.title(event.cell)}: epoch {event.report.epoch}/{epochs}, {self.latest}")
        elif isinstance(event, GroupFinished) and event.before:
            self._print(f"{counter.title(event.cell)}: {_networks(event.networks)} finished before")
        elif isinstance(event, GroupFinished):
            finished, all_of_cell = counter.of_cell[event.cell.name], len(event.cell.points)
            if finished == all_of_cell or long_ago:
                part = "" if finished == all_of_cell else f"{finished} of "
                self._print(f"{counter.title(event.cell)}: {part}{_networks(all_of_cell)} trained, {self.latest}")

    def _print(self, text: str) -> None:
        counter = self.counter
        share = 100 * counter.done / counter.total
        left = counter.seconds_left()
        rest = f", {duration(left)} left" if left is not None and share < 100 else ""
        say(self.console, f"[{share:3.0f}%] {text} ({duration(counter.seconds())}{rest})")
        self.last_line = time.perf_counter()


def progress_for(console: Console, quiet: bool) -> list[Listener]:
    """The listeners that show progress: a bar on a terminal, plain lines elsewhere, none if quiet."""
    if quiet:
        return []
    return [TerminalProgress(console) if console.is_terminal else PlainProgress(console)]


def tracker(console: Console, quiet: bool) -> Callable[[Sequence[Item], str], Iterator[Item]]:
    """Returns ``(items, title) -> items`` that shows how many are done: a bar on a terminal, else plain lines."""

    def track(items: Sequence[Item], title: str) -> Iterator[Item]:
        if console.is_terminal and not quiet:
            with _line(console) as bar:
                line = bar.add_task(title, total=len(items), left="", doing="", rate="")
                for done, item in enumerate(items):
                    bar.update(line, completed=done, doing=f"network {done + 1} of {len(items)}")
                    yield item
            return
        last = time.perf_counter()
        for done, item in enumerate(items, start=1):
            yield item
            if not quiet and (done == len(items) or time.perf_counter() - last > PLAIN_SECONDS):
                say(console, f"{title}: {done} of {_networks(len(items))}")
                last = time.perf_counter()

    return track
