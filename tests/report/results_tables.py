"""Tables of results as a sweep writes them, with values given by functions of the network."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from widebasin.report.wording import Wording
from widebasin.sam import METHODS
from widebasin.statistics import ACCURACY, LOSS, Design, Metric
from widebasin.statistics.gains import chosen_radii, gain_table, paired_gains, radius_table

# By which tables are judged: the first two as in classification and regression, the others of other domains.
METRICS = {
    metric.name: metric
    for metric in (
        ACCURACY,
        Metric("episode_return", True, "points"),
        Metric("word_error_rate", False, "%", 100.0),
        Metric("mean_average_precision", True),
        LOSS,
    )
}
AXES = ("sparsity", "pruner", "output_scale", "label_noise", "weight_decay", "learning_rate", "parametrization")
SETTING = ("workload", "width", "num_params", *AXES)
PERCENT = frozenset({"sparsity", "label_noise"})
TITLES = {name: method.title for name, method in METHODS.items()}


def design_of(results: pd.DataFrame) -> Design:
    """Of a table of results: its metric is the one that it has a column of, the loss if there is no other."""
    return Design(next(metric for name, metric in METRICS.items() if f"test_{name}" in results), SETTING)


def wording_for(metric: str | Metric = "accuracy", *, readings: tuple[str, ...] = (), **titles: str) -> Wording:
    """How reports write of such tables; a reading is written as it is."""
    metric = METRICS[metric] if isinstance(metric, str) else metric
    wording = Wording(Design(metric, SETTING), TITLES | titles, {}, PERCENT)
    return wording.read_by(**dict.fromkeys(readings, "{}")) if readings else wording


def radii_chosen(results: pd.DataFrame, **options) -> pd.DataFrame:
    return chosen_radii(results, design_of(results), **options)


def paired_of(results: pd.DataFrame, **options) -> pd.DataFrame:
    return paired_gains(results, design_of(results), **options)


def gains_of(results: pd.DataFrame, **options) -> pd.DataFrame:
    return gain_table(results, design_of(results), **options)


def radii_of(results: pd.DataFrame, **options) -> pd.DataFrame:
    return radius_table(results, design_of(results), **options)


@dataclass(frozen=True)
class Network:
    width: int
    method: str
    rho: float
    label_noise: float
    seed: int

    @property
    def num_params(self) -> int:
        return 10 * self.width**2


Value = Callable[[Network], float]


def never(network: Network) -> bool:
    return False


def networks(
    widths=(10, 100), methods=("sgd", "sam"), rhos=(0.05, 0.2), label_noise=(0.0,), seeds=(0, 1, 2)
) -> list[Network]:
    return [
        Network(width, method, rho, noise, seed)
        for width, method, noise in itertools.product(widths, methods, label_noise)
        for rho in ((0.0,) if method == "sgd" else rhos)
        for seed in seeds
    ]


def results_table(
    test: Value,
    valid: Value | None = None,
    *,
    metric: str = "accuracy",
    train_loss: Value = lambda network: 1.0 / network.width,
    diverged: Callable[[Network], bool] = never,
    best_test: Value | None = None,
    best_valid: Value | None = None,
    **grid,
) -> pd.DataFrame:
    """One row per network. ``test`` gives its test metric, ``valid`` its validation metric, the same by default.

    The metric is one of ``METRICS``. The loss that is recorded besides is that of an accuracy, and of
    other metrics the wrong way round: who judges by it is misled. A diverged network has no metrics.
    """
    valid = valid or test
    rows = []
    for network in networks(**grid):
        values = {
            "valid": valid(network),
            "test": test(network),
            "best_valid": (best_valid or valid)(network),
            "best_test": (best_test or test)(network),
        }
        gone = diverged(network)
        row = {
            "workload": "digits-mlp",
            "model": "mlp",
            "width": network.width,
            "num_params": network.num_params,
            "method": network.method,
            "rho": network.rho,
            "sparsity": 0.0,
            "pruner": "none",
            "output_scale": 1.0,
            "label_noise": network.label_noise,
            "weight_decay": 1e-4,
            "learning_rate": 0.1,
            "parametrization": "standard",
            "seed": network.seed,
            "epochs": 2,
            "train_loss": np.nan if gone else train_loss(network),
        }
        for part, value in values.items():
            misleading = METRICS[metric].sign * value
            loss = -np.log(max(value, 1e-3)) if metric == "accuracy" else misleading
            row[f"{part}_loss"] = np.nan if gone else value if metric == "loss" else loss
            row[f"{part}_{metric}"] = np.nan if gone else value
        rows.append(row | {"best_valid_epoch": 1, "diverged": gone, "diverged_epoch": int(gone), "seconds": 0.1})
    return pd.DataFrame(rows)


def history_table(results: pd.DataFrame, epochs: int = 3) -> pd.DataFrame:
    """One row per network and epoch: all metrics at their final value, times the share of the training that is done."""
    identity = list(results.columns[: results.columns.get_loc("epochs")])
    parts = [c for c in results.columns if c.startswith(("train_", "valid_", "test_"))]
    tables = []
    for epoch in range(1, epochs + 1):
        table = results[identity].assign(epoch=epoch, gradient_norm=1.0)
        for part in parts:
            table[part] = results[part] * epoch / epochs
        tables.append(table)
    # Network by network, as a sweep writes them.
    return pd.concat(tables).sort_index(kind="stable").reset_index(drop=True)


def growing(network: Network) -> float:
    """A share whose gain over SGD is 2 points per tenfold parameters, less seed by seed a little; best at rho 0.2.

    Width 10 has 1,000 parameters, width 100 has 100,000.
    """
    base = 0.5 + 0.01 * network.seed
    if network.method == "sgd":
        return base
    decades = np.log10(network.num_params)
    return base + (0.02 + 0.001 * network.seed) * decades - (0.0 if network.rho == 0.2 else 0.01)
