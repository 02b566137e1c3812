"""The training loop; all networks are trained by it."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real

import jax
import numpy as np
from jaxtyping import PyTree

from widebasin.training.checkpoint import Checkpoints
from widebasin.training.point import Point
from widebasin.training.problem import PARTS
from widebasin.training.program import Program


@dataclass(frozen=True)
class EpochReport:
    """The report after every epoch, for progress displays.

    Attributes:
        epoch: epochs completed.
        resumed: whether this epoch was restored from a checkpoint instead of trained now.
        metrics: the metrics of this epoch, as in ``Trained.history``, with shape ``(networks,)``.
        diverged: number of networks that have diverged so far.
    """

    epoch: int
    resumed: bool
    metrics: dict[str, np.ndarray]
    diverged: int


@dataclass(frozen=True)
class Trained:
    """A group of trained networks.

    Attributes:
        points: the points of the networks, in the order of every leading axis here.
        params: final parameters, leading axis over networks.
        model: the leaves of the models' final states, leading axis over networks.
        history: name -> array ``(networks, epochs)``, see ``Program.epoch``; NaN from the epoch in which a network
            diverged.
        final: name -> array ``(networks,)``: ``train_*`` over the whole training set with the final parameters.
        diverged_epoch: the first epoch (from 1) with a loss or gradient that is not finite; 0 if there is none.
        seconds: wall time of the group, compilation included.
    """

    points: tuple[Point, ...]
    params: PyTree
    model: PyTree
    history: dict[str, np.ndarray]
    final: dict[str, np.ndarray]
    diverged_epoch: np.ndarray
    seconds: float


def train(
    program: Program,
    points: Sequence[Point],
    *,
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float = 30.0,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Trained:
    """Trains a group of networks for the recipe's epochs, all in one program.

    A network that diverges is marked and has no metrics from then on; when all have diverged, training stops after one
    more epoch. JAX settings do not affect results, except the precision of matrix products, see ``computing_in``.

    Args:
        program: the program; compiled once, used for any number of groups.
        points: the points of the group.
        checkpoints: where to continue from and save to; by default none.
        checkpoint_seconds: minimum time between two checkpoints; 0 saves after every epoch.
        on_epoch: called after every epoch.

    Returns:
        Parameters and history. Continued from a checkpoint, they equal those of an uninterrupted run bit for bit.

    Raises:
        CheckpointError: if the checkpoint is damaged, or of other points or another recipe.
    """
    epochs = program.problem.recipe.epochs
    names = program.problem.names
    networks = len(points)
    started = time.perf_counter()
    state, source, hyperparameters = program.start(points)
    columns = ("gradient_norm", *(f"{part}_{name}" for part in ("train", "valid", "test") for name in names))
    history = {name: np.full((networks, epochs), np.nan, np.float32) for name in columns}
    final = {f"train_{name}": np.full(networks, np.nan, np.float32) for name in names}
    diverged_epoch = np.zeros(networks, np.int32)
    seconds_before = np.zeros((), np.float64)
    first = 0
    if checkpoints is not None:
        checkpoints.run = _digest(points, program)
        like = (state, history, final, diverged_epoch, seconds_before, hyperparameters.mask)
        with program.computing():
            restored = checkpoints.restore(like)
        if restored is not None:
            state, old_history, old_final, diverged_epoch, seconds_before, mask = restored
            # SNIP's mask of another machine may differ by a rounding; the one that was trained with stays.
            hyperparameters = hyperparameters._replace(mask=mask)
            # orbax gives dictionaries back in another order and arrays that cannot be written.
            history = {name: np.array(old_history[name]) for name in history}
            final = {name: np.array(old_final[name]) for name in final}
            diverged_epoch = np.array(diverged_epoch)
            first = int(np.asarray(state.epoch)[0])
            if on_epoch is not None:
                for epoch in range(first):
                    metrics = {name: values[:, epoch] for name, values in history.items()}
                    on_epoch(EpochReport(epoch + 1, True, metrics, int((diverged_epoch > 0).sum())))

    def read(epoch: int, metrics_of_epoch: Callable[[], dict[str, np.ndarray]]) -> None:
        # Without the networks that a group was filled up with.
        metrics = {name: values[:networks] for name, values in metrics_of_epoch().items()}
        finite = np.all([np.isfinite(metrics[n]) for n in program.problem.finite], axis=0)
        diverged_epoch[(diverged_epoch == 0) & ~finite] = epoch + 1
        # What a network of NaNs scores depends on the program; that it has diverged does not.
        metrics = {name: np.where(diverged_epoch > 0, np.float32(np.nan), values) for name, values in metrics.items()}
        for name in columns:
            history[name][:, epoch] = metrics.get(name, np.nan)  # a metric of a whole data set has none of training
        for metric in program.problem.metrics:
            if metric.mean_of:
                for part in PARTS:
                    so_far = history[f"{part}_{metric.mean_of}"][:, : epoch + 1]
                    mean = np.nansum(so_far, axis=1) / np.maximum(np.isfinite(so_far).sum(axis=1), 1)
                    known = np.isfinite(so_far).any(axis=1) & (diverged_epoch == 0)
                    history[f"{part}_{metric.name}"][:, epoch] = np.where(known, mean, np.nan)
        for name in names:
            final[f"train_{name}"][:] = metrics.get(f"final_train_{name}", np.nan)
        if on_epoch is not None:
            on_epoch(
                EpochReport(
                    epoch + 1, False, {n: history[n][:, epoch] for n in columns}, int((diverged_epoch > 0).sum())
                )
            )

    def read_all_but(ahead: int) -> None:
        while len(unread) > ahead:
            read(*unread.pop(0))

    unread: list[tuple[int, Callable[[], dict[str, np.ndarray]]]] = []
    saved = time.perf_counter()
    for epoch in range(first, epochs):
        # The epoch before may be unread, unless it was saved: either way, it is known that all diverged before it.
        if ((diverged_epoch > 0) & (diverged_epoch < epoch)).all():
            break
        state, metrics = program.begin_epoch(state, source, hyperparameters, epoch, last=epoch == epochs - 1)
        unread.append((epoch, metrics))
        read_all_but(program.ahead)
        now = time.perf_counter()
        if checkpoints is not None and epoch + 1 < epochs and checkpoints.due(now - saved >= checkpoint_seconds):
            read_all_but(0)
            seconds = seconds_before + (time.perf_counter() - started)
            tree = (state, history, final, diverged_epoch, seconds, hyperparameters.mask)
            checkpoints.save(epoch + 1, tree)
            saved = time.perf_counter()
    read_all_but(0)
    return Trained(
        points=tuple(points),
        params=_without_filling(state.params, networks),
        model=_without_filling(state.model, networks),
        history=history,
        final=final,
        diverged_epoch=diverged_epoch,
        seconds=float(seconds_before) + time.perf_counter() - started,
    )


def _digest(points: Sequence[Point], program: Program) -> str:
    """What tells the checkpoints of a run from those of another one whose arrays have the same shapes."""
    values = [
        (int(point.seed), sorted((name, one if isinstance(one, str) else float(one)) for name, one in point.axes))
        for point in points
    ]
    recipe = {name: float(one) if isinstance(one, Real) else one for name, one in vars(program.problem.recipe).items()}
    method = type(program.method_at(0.0)).__qualname__
    return hashlib.sha256(f"{values} {recipe} {method}".encode()).hexdigest()[:16]


def _without_filling(tree: PyTree, networks: int) -> PyTree:
    """Removes padding networks; the result is on the host if there were any."""
    return jax.tree.map(lambda leaf: leaf if len(leaf) == networks else np.asarray(leaf)[:networks], tree)
