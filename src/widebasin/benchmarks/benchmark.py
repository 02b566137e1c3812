"""The results of a benchmark: rows of contenders, with ratios and targets."""

from dataclasses import dataclass
from typing import Any

from widebasin.benchmarks.timing import Timing
from widebasin.report.tables import Table


@dataclass(frozen=True)
class Measured:
    """One contender.

    Attributes:
        what: name of the contender.
        timing: time of one unit of work; ``None`` if it was not measured.
        ratio: its median divided by that of the contender it is compared with; ``None`` if there is none.
        against: name of the contender it is compared with.
        target: maximum that the ratio should have; ``None`` if there is no target.
        more: further columns: heading -> text.
        missing: why it was not measured.
    """

    what: str
    timing: Timing | None
    ratio: float | None = None
    against: str = ""
    target: float | None = None
    more: tuple[tuple[str, str], ...] = ()
    missing: str = ""

    def record(self) -> dict[str, Any]:
        """The row for JSON, with unrounded seconds."""
        timing = self.timing
        return {
            "what": self.what,
            "median_seconds": timing.median if timing else None,
            "quartiles_seconds": list(timing.quartiles) if timing else None,
            "seconds": list(timing.seconds) if timing else [],
            "ratio": self.ratio,
            "against": self.against,
            "target": self.target,
            "missing": self.missing,
            "more": dict(self.more),
        }


@dataclass(frozen=True)
class Benchmark:
    """The results of one run of a benchmark.

    Attributes:
        name: name on the command line.
        title: description of one unit of work.
        rounds: how often each contender was timed.
        rows: the contenders.
        note: what is included, and how to read the ratios.
    """

    name: str
    title: str
    rounds: int
    rows: tuple[Measured, ...]
    note: str

    def record(self) -> dict[str, Any]:
        """The results for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "rounds": self.rounds,
            "rows": [row.record() for row in self.rows],
            "note": self.note,
        }

    def table(self) -> Table:
        """The results as a table: milliseconds, quartiles, ratios."""
        more = list(dict.fromkeys(heading for row in self.rows for heading, _ in row.more))
        targets = ("target",) if any(row.target is not None for row in self.rows) else ()
        columns = ("what", "median ms", "quartiles ms", *more, "ratio", "to", *targets)
        rows = tuple(
            (
                row.what,
                _milliseconds(row.timing.median) if row.timing else row.missing,
                " to ".join(_milliseconds(q) for q in row.timing.quartiles) if row.timing else "",
                *(dict(row.more).get(heading, "") for heading in more),
                "" if row.ratio is None else f"{row.ratio:.2f}",
                row.against,
                *(_target(row) for _ in targets),
            )
            for row in self.rows
        )
        return Table(
            f"{self.name}: {self.title}",
            columns,
            rows,
            f"Medians of {self.rounds} round{'s' * (self.rounds != 1)}. {self.note}",
        )


def _milliseconds(seconds: float) -> str:
    """Milliseconds with four digits, which is more than the spread justifies."""
    return f"{1e3 * seconds:.4g}" if seconds < 10 else f"{1e3 * seconds:,.0f}"


def _target(row: Measured) -> str:
    if row.target is None or row.ratio is None:
        return ""
    return f"≤ {row.target:g} ({'met' if row.ratio <= row.target else 'missed'})"
