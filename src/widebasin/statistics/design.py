"""Which networks of a table of results are compared, and by which metric."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from widebasin.statistics.metric import Metric

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "sgd"
"""The method that gains are measured against: the base optimizer without an ascent."""

# Columns of the tables of results and of statistics that no axis can be named after; nor can it begin like a metric's.
COLUMNS = frozenset(
    [
        "workload",
        "model",
        "width",
        "num_params",
        "method",
        "rho",
        "seed",
        "seeds",
        "epoch",
        "epochs",
        "best_valid_epoch",
        "diverged",
        "diverged_epoch",
        "seconds",
        "parameters",
        "gradient_norm",
        "gain",
        "value",
        "baseline_value",
        "rho_star",
        "standard_error",
        "low",
        "high",
        "baseline_train_loss",
        "baseline_diverged",
        "networks",
        "pairs",
        "trials",
        "slope",
        "shift",
        "difference",
        "sweep",
        "stopped",
        "network",
        "position",
        "layer",
    ]
)
PREFIXES = ("train_", "valid_", "test_", "best_")
# Columns of a setting that a network's size is in, not what it was trained with.
SIZE = ("width", "num_params")


@dataclass(frozen=True)
class Design:
    """Networks are paired by seed: within a setting they differ only by method, radius and seed.

    Attributes:
        metric: the main metric: it selects epochs and radii, and its gain is computed.
        setting: columns in which compared networks must be equal: workload, size and training settings.
        baseline: the method that gains are measured against.
    """

    metric: Metric
    setting: tuple[str, ...]
    baseline: str = BASELINE

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that identify the network of a row."""
        return (*self.setting, "method", "rho", "seed")

    def column(self, part: str, at: str = "final") -> str:
        """The column of the metric on a part of the data, at the ``final`` or the ``best`` validation epoch."""
        return f"{'best_' if at == 'best' else ''}{part}_{self.metric.name}"

    def varying(self, table: "pd.DataFrame") -> list[str]:
        """The columns of the setting, other than the size, with several values: they distinguish series."""
        return [column for column in self.setting if column not in SIZE and table[column].nunique() > 1]

    def read_by(self, *columns: str) -> "Design":
        """The design for tables with several readings of the same networks, distinguished by further columns."""
        return replace(self, setting=(*self.setting, *columns))


APART = "add the column that distinguishes them, such as epochs, to {}"
ONE_SETTING = "give only rows of one setting"


def check_once(
    table: "pd.DataFrame", identity: Sequence[str], remedy: str = APART.format("the design's setting")
) -> None:
    """Raises ``ValueError`` if a network occurs more than once in a table: it would count as several seeds.

    Args:
        table: one row per network.
        identity: the columns that identify a network.
        remedy: what to do if the rows belong to different networks.
    """
    repeated = table.duplicated(list(identity))
    if repeated.any():
        first = table[repeated].iloc[0]
        one = ", ".join(f"{name} {first[name]}" for name in ("width", "method", "rho", "seed") if name in first)
        raise ValueError(
            f"the table must have every network once, but {int(repeated.sum())} rows repeat one ({one}, ...); drop "
            f"them, or {remedy}"
        )
