"""What of a table of results is compared with what, and by which metric."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from widebasin.statistics.metric import Metric

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "sgd"
"""The method over which gains are measured: the base optimizer without an ascent."""

# Columns of a setting that a network's size is in, not what it was trained with.
SIZE = ("width", "num_params")


@dataclass(frozen=True)
class Design:
    """Networks are paired by seed: in one setting they differ by method, radius and seed alone.

    Attributes:
        metric: that judges: it chooses epochs and radii, and gains are of it.
        setting: columns that make networks comparable where they are equal: workload, size and what was trained with.
        baseline: the method over which gains are measured.
    """

    metric: Metric
    setting: tuple[str, ...]
    baseline: str = BASELINE

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that say which network a row is of."""
        return (*self.setting, "method", "rho", "seed")

    def column(self, part: str, at: str = "final") -> str:
        """The column of the metric on a part of the data, at the ``final`` or the ``best`` validation epoch."""
        return f"{'best_' if at == 'best' else ''}{part}_{self.metric.name}"

    def varying(self, table: "pd.DataFrame") -> list[str]:
        """The columns of the setting, other than the size, that take several values: what tells series apart."""
        return [column for column in self.setting if column not in SIZE and table[column].nunique() > 1]

    def read_by(self, *columns: str) -> "Design":
        """The design of tables that hold several readings of the same networks, told apart by further columns."""
        return replace(self, setting=(*self.setting, *columns))


APART = "name the column that tells them apart, such as epochs, in {}"
ONE_SETTING = "give those of one setting alone"


def check_once(
    table: "pd.DataFrame", identity: Sequence[str], remedy: str = APART.format("the design's setting")
) -> None:
    """Raises ``ValueError`` if a network is in a table more than once: it would count as several seeds.

    Args:
        table: one row per network.
        identity: the columns that say which.
        remedy: what to do if the rows are of several networks.
    """
    repeated = table.duplicated(list(identity))
    if repeated.any():
        first = table[repeated].iloc[0]
        one = ", ".join(f"{name} {first[name]}" for name in ("width", "method", "rho", "seed") if name in first)
        raise ValueError(
            f"the table must hold every network once, and {int(repeated.sum())} rows repeat one ({one}, ...); drop "
            f"them, or {remedy}"
        )
