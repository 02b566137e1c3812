"""Runs an epoch of a group of networks: as one compiled loop, or step by step from the host."""

import abc
import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from widebasin.sam import Method
from widebasin.training.evaluation import evaluated, evaluated_block
from widebasin.training.placement import Placement
from widebasin.training.problem import PARTS, Problem, means
from widebasin.training.state import Hyperparameters, TrainingState
from widebasin.training.step import Metrics, update

# Part of the split -> how its metrics begin at the end of an epoch; those of training are averages over the epoch.
PREFIXES = {"valid": "valid", "test": "test", "train": "final_train"}


class Loop(abc.ABC):
    """The base class of both loops: the programs for one group size.

    Args:
        problem: the problem to train.
        method_at: radius -> method.
        placement: where to train.

    Attributes:
        ahead: epochs whose metrics need not be read before the next one is begun.
    """

    ahead = 0

    def __init__(self, problem: Problem, method_at: Callable[[Any], Method], placement: Placement) -> None:
        self.problem, self.placement = problem, placement
        self.period = method_at(0.0).period
        self.update = functools.partial(update, problem, method_at, placement)
        # A separate program: for data sets it does not depend on the width.
        self._begin = placement.compiled(self._begin_one, shared=2)

    def _begin_one(
        self, state: TrainingState, source: PyTree, hyperparameters: Hyperparameters, data: PyTree, number: Any
    ) -> tuple[PyTree, PyTree]:
        """The data of a round of the epoch."""
        model = state.network(hyperparameters)
        number = state.epoch * self.problem.rounds + number
        return self.problem.epoch(data, source, state.carry, model, state.key, number)

    @abc.abstractmethod
    def begin_epoch(
        self,
        state: TrainingState,
        source: PyTree,
        hyperparameters: Hyperparameters,
        data: PyTree,
        number: int,
        last: bool,
    ) -> tuple[TrainingState, Callable[[], dict[str, np.ndarray]]]:
        """The state after an epoch and a function that reads its metrics, see ``Program.begin_epoch``."""

    def _sometimes(self, name: str) -> bool:
        """Whether a metric may be known in some rounds only, like the return where no episode ended."""
        return self.problem.rounds > 1 and name not in self.problem.finite

    def prepare(self, state: TrainingState, source: PyTree, hyperparameters: Hyperparameters, data: PyTree) -> None:
        """Compiles ahead of the first epoch, if there is a single program to compile."""
        del state, source, hyperparameters, data

    def _whole(self, prefix: str, collected: PyTree) -> dict[str, np.ndarray]:
        """Metrics of a whole part, network by network, on the host."""
        leaves, structure = jax.tree.flatten(collected)
        if not leaves:
            return {}
        arrays = [np.asarray(leaf) for leaf in leaves]
        rows = [self.problem.whole(structure.unflatten([a[i] for a in arrays])) for i in range(len(arrays[0]))]
        return {f"{prefix}_{name}": np.array([row[name] for row in rows], np.float32) for name in rows[0]}


class Scanned(Loop):
    """All steps of an epoch and the evaluations after them in one program."""

    def __init__(self, problem: Problem, method_at: Callable[[Any], Method], placement: Placement) -> None:
        super().__init__(problem, method_at, placement)
        self._epoch = placement.compiled(self._epoch_one, shared=3, donate=True)
        # By the structure of the hyperparameters: only groups with a pruned network have masks.
        self._prepared: dict[Any, Any] = {}
        # Devices that train one network together communicate, and what they say must not meet what comes next.
        self.ahead = 1 if placement.many or placement.plan.devices_of_all == 1 else 0

    def prepare(self, state: TrainingState, source: PyTree, hyperparameters: Hyperparameters, data: PyTree) -> None:
        """See ``Loop``."""
        state, index = self._begun(state, source, hyperparameters, data)
        first, last = np.asarray(0, np.int32), np.asarray(False)
        lowered = self._epoch.lower(state, index, source, hyperparameters, data, first, last)
        self._prepared[jax.tree.structure(hyperparameters)] = lowered.compile()

    def begin_epoch(
        self,
        state: TrainingState,
        source: PyTree,
        hyperparameters: Hyperparameters,
        data: PyTree,
        number: int,
        last: bool,
    ) -> tuple[TrainingState, Callable[[], dict[str, np.ndarray]]]:
        """See ``Loop``; the devices may still be at it."""
        epoch = self._prepared.get(jax.tree.structure(hyperparameters), self._epoch)
        state, index = self._begun(state, source, hyperparameters, data)
        first = np.asarray(number * self.problem.steps_per_epoch, np.int32)
        state, metrics, collected = epoch(state, index, source, hyperparameters, data, first, np.asarray(last))

        def read() -> dict[str, np.ndarray]:
            found = {name: np.asarray(value) for name, value in metrics.items()}
            for part, of_part in collected.items():
                if last or part != "train":
                    found |= self._whole(PREFIXES[part], of_part)
            return found

        return state, read

    def _begun(
        self, state: TrainingState, source: PyTree, hyperparameters: Hyperparameters, data: PyTree
    ) -> tuple[TrainingState, PyTree]:
        """The data of the epoch; ``None`` if it has several rounds, whose data are made within its program."""
        if self.problem.rounds > 1:
            return state, None
        carry, index = self._begin(state, source, hyperparameters, data, np.asarray(0, np.int32))
        return state._replace(carry=carry), index

    def _epoch_one(
        self,
        state: TrainingState,
        index: PyTree,
        source: PyTree,
        hyperparameters: Hyperparameters,
        data: PyTree,
        first: Int[Array, ""],
        last: Array,
    ) -> tuple[TrainingState, Metrics, dict[str, PyTree]]:
        def step(state: TrainingState, one: tuple[PyTree, Array]) -> tuple[TrainingState, Metrics]:
            batch, number = one
            return self.update(state, source, hyperparameters, batch, number, data)

        def evaluate(part: str) -> tuple[Metrics, PyTree]:
            totals, collected = evaluated(self.problem, part, state, source, hyperparameters, data)
            return {f"{PREFIXES[part]}_{name}": value for name, value in means(totals).items()}, collected

        def trained_on(state: TrainingState, index: PyTree, first: Array) -> tuple[TrainingState, Metrics]:
            numbers = first + jnp.arange(self.problem.steps_per_round)
            return jax.lax.scan(step, state, (index, numbers))

        def in_round(state: TrainingState, number: Array) -> tuple[TrainingState, Metrics]:
            carry, index = self._begin_one(state, source, hyperparameters, data, number)
            return trained_on(state._replace(carry=carry), index, first + number * self.problem.steps_per_round)

        if self.problem.rounds > 1:
            state, steps = jax.lax.scan(in_round, state, jnp.arange(self.problem.rounds))
        else:
            state, steps = trained_on(state, index, first)
        state = state._replace(epoch=state.epoch + 1)
        metrics = {name: (jnp.nanmean if self._sometimes(name) else jnp.mean)(values) for name, values in steps.items()}
        collected = {}
        for part in ("valid", "test"):
            found, collected[part] = evaluate(part)
            metrics |= found
        nothing = jax.tree.map(_nothing, jax.eval_shape(lambda: evaluate("train")))
        # ``last`` is shared by all networks, so this stays a branch under vmap and costs nothing before the end.
        found, collected["train"] = jax.lax.cond(last, lambda: evaluate("train"), lambda: nothing)
        return state, metrics | found, collected


def _nothing(shape: jax.ShapeDtypeStruct) -> Array:
    nothing = jnp.nan if jnp.issubdtype(shape.dtype, jnp.inexact) else 0
    return jnp.full(shape.shape, nothing, shape.dtype)


class Dispatched(Loop):
    """Steps and evaluation blocks dispatched one by one from the host, which may read them from disk."""

    def __init__(self, problem: Problem, method_at: Callable[[Any], Method], placement: Placement) -> None:
        super().__init__(problem, method_at, placement)
        # Two programs where steps are of two kinds: within a branch, XLA runs convolutions slowly on a CPU.
        self._steps = {
            kind: placement.compiled(functools.partial(self.update, kind=kind), shared=2, donate=True)
            for kind in (0, 1)
        }
        self._blocks = {
            part: placement.compiled(functools.partial(evaluated_block, problem, part), shared=1) for part in PARTS
        }

    def begin_epoch(
        self,
        state: TrainingState,
        source: PyTree,
        hyperparameters: Hyperparameters,
        data: PyTree,
        number: int,
        last: bool,
    ) -> tuple[TrainingState, Callable[[], dict[str, np.ndarray]]]:
        """See ``Loop``; ends with the epoch, whose steps the host dispatches."""
        first = number * self.problem.steps_per_epoch
        steps = []
        with self._reading() as rows:
            for of_epoch in range(self.problem.rounds):
                carry, index = self._begin(state, source, hyperparameters, data, np.asarray(of_epoch, np.int32))
                state = state._replace(carry=carry)
                index = jax.tree.map(np.asarray, index)  # slices of a device array would be dispatched one by one
                for at, row in enumerate(rows(source, index, "train"), start=first + len(steps)):
                    step = self._steps[min(1, at % self.period)]
                    state, found = step(state, source, hyperparameters, row, at, data)
                    steps.append(found)
            metrics = means_of(steps, self._sometimes)
            for part, prefix in PREFIXES.items():
                if last or part != "train":
                    values = self._evaluated(rows, part, prefix, state, source, hyperparameters, data)
                else:
                    nothing = np.full(state.epoch.shape, np.nan)
                    values = {f"{prefix}_{name}": nothing for name in self.problem.names}
                metrics |= values
        return state._replace(epoch=state.epoch + 1), lambda: metrics

    def judged(
        self, state: TrainingState, source: PyTree, hyperparameters: Hyperparameters, data: PyTree
    ) -> dict[str, np.ndarray]:
        """The metrics of networks without training, on all parts."""
        with self._reading() as rows:
            found = [
                self._evaluated(rows, part, prefix, state, source, hyperparameters, data)
                for part, prefix in PREFIXES.items()
            ]
        return {name: values for metrics in found for name, values in metrics.items()}

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Callable[[PyTree, PyTree, str], Iterable[PyTree]]]:
        """See ``Problem.reading``; what the hosts have read of a batch is put together."""
        placement = self.placement
        with self.problem.reading(placement.plan.workers, placement.share) as rows:
            if placement.share is None or not self.problem.from_disk:
                yield rows
            else:
                yield lambda source, index, part: map(placement.put_together, rows(source, index, part))

    def _evaluated(
        self,
        rows: Callable[..., Any],
        part: str,
        prefix: str,
        state: TrainingState,
        source: PyTree,
        hyperparameters: Hyperparameters,
        data: PyTree,
    ) -> dict[str, np.ndarray]:
        networks = state.epoch.shape[0]
        blocks = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (networks, *leaf.shape)), self.problem.blocks(part))
        found = [self._blocks[part](state, source, hyperparameters, row, data) for row in rows(source, blocks, part)]
        metrics = {}
        for name in found[0][0]:
            total, weight = (np.sum([np.asarray(totals[name][i]) for totals, _ in found], axis=0) for i in (0, 1))
            metrics[f"{prefix}_{name}"] = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight != 0)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *(collected for _, collected in found))
        return metrics | self._whole(prefix, stacked)


def means_of(steps: Sequence[Metrics], sometimes: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """The averages of the metrics over steps; of those that are known ``sometimes``, over these steps."""
    found = {name: [np.asarray(one[name]) for one in steps] for name in steps[0]}
    return {
        name: np.asarray(jnp.nanmean(jnp.stack(values), axis=0)) if sometimes(name) else np.mean(values, axis=0)
        for name, values in found.items()
    }
