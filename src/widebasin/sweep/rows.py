"""From trained networks to rows of the tables of results."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from widebasin.sweep.cells import Cell
from widebasin.training import Replicate, Trained
from widebasin.workloads import WORKLOADS


def results_rows(cell: Cell, trained: Trained) -> pd.DataFrame:
    """One row per network.

    Columns: what the network is (``workload`` ... ``epochs``; ``num_params`` counts the parameters that are not
    pruned); ``train_*``, ``valid_*`` and ``test_*`` with the final parameters, the first over the whole training set
    with the labels it was trained on; ``best_valid_epoch`` (from 1), the first epoch with the best validation metric,
    and ``best_valid_*``, ``best_test_*`` at that epoch; ``diverged`` and ``diverged_epoch`` (0 if it did not);
    ``seconds``, the group's wall time divided by its networks.
    """
    workload = WORKLOADS[cell.workload]
    objective = workload.objective
    last = cell.recipe.epochs - 1
    chosen = trained.history[f"valid_{objective.best}"].astype(np.float64)
    worst = np.nan_to_num(chosen if objective.best_is_highest else -chosen, nan=-np.inf)
    best = worst.argmax(axis=1)
    table = identity_rows(cell, trained.replicates)
    table["epochs"] = cell.recipe.epochs
    for name in objective.names:
        table[f"train_{name}"] = trained.final[f"train_{name}"]
    for part in ("valid", "test"):
        for name in objective.names:
            table[f"{part}_{name}"] = trained.history[f"{part}_{name}"][:, last]
    table["best_valid_epoch"] = best.astype(np.int64) + 1
    for part in ("valid", "test"):
        for name in objective.names:
            values = trained.history[f"{part}_{name}"]
            table[f"best_{part}_{name}"] = np.take_along_axis(values, best[:, None], axis=1)[:, 0]
    table["diverged"] = trained.diverged_epoch > 0
    table["diverged_epoch"] = trained.diverged_epoch.astype(np.int64)
    table["seconds"] = trained.seconds / len(trained.replicates)
    return table


def history_rows(cell: Cell, trained: Trained) -> pd.DataFrame:
    """One row per network and epoch (from 1).

    ``train_*`` are averages over the epoch's clean passes, while the parameters move; ``gradient_norm`` is the mean
    norm of the gradients applied; ``valid_*`` and ``test_*`` are measured at the epoch's end.
    """
    epochs = cell.recipe.epochs
    identity = identity_rows(cell, trained.replicates)
    table = identity.loc[identity.index.repeat(epochs)].reset_index(drop=True)
    table["epoch"] = np.tile(np.arange(1, epochs + 1), len(identity))
    for name, values in trained.history.items():
        table[name] = values.ravel()
    return table


def identity_rows(cell: Cell, replicates: Sequence[Replicate]) -> pd.DataFrame:
    """What networks are, one row per network: the columns by which rows of all tables belong together."""
    workload = WORKLOADS[cell.workload]
    return pd.DataFrame(
        {
            "workload": cell.workload,
            "model": workload.model,
            "width": cell.width,
            "num_params": [cell.num_params(r) for r in replicates],
            "method": cell.method,
            "rho": [r.rho for r in replicates],
            "sparsity": [r.sparsity for r in replicates],
            "pruner": [r.pruner for r in replicates],
            "output_scale": [r.output_scale for r in replicates],
            "label_noise": [r.label_noise for r in replicates],
            "weight_decay": [r.weight_decay for r in replicates],
            "learning_rate": [r.learning_rate for r in replicates],
            "seed": [r.seed for r in replicates],
        }
    )
