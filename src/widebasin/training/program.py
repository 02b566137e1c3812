"""Trains groups of networks in one compiled program: initialization, then one epoch after the other."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key, PyTree

from widebasin.data import key_for
from widebasin.sam import Method
from widebasin.training.loops import Dispatched, Scanned
from widebasin.training.network import computing_in
from widebasin.training.placement import Placement
from widebasin.training.plan import Plan
from widebasin.training.point import Point, coordinates
from widebasin.training.problem import Model, Problem
from widebasin.training.pruning import masks_of
from widebasin.training.state import Hyperparameters, TrainingState, masked
from widebasin.training.supervised import INITIALIZATION

# The purpose of the key that a network trains by.
TRAINING = "training"
# Axes that every point has a value for.
ALWAYS = ("rho", "learning_rate", "weight_decay")


class Program:
    """Trains groups of networks of one problem with one method under one plan; compiles once per group size.

    Everything is computed in the recipe's precision and with fixed JAX settings, whatever the caller's settings, see
    ``computing_in``.

    Args:
        problem: the problem to train.
        method_at: radius -> method.
        plan: the plan of execution.

    Raises:
        ValueError: if the problem reads from disk, but the plan is not one network at a time, step by step.
    """

    def __init__(self, problem: Problem, method_at: Callable[[Any], Method], plan: Plan) -> None:
        if problem.from_disk and (plan.networks_at_once > 1 or plan.loop != "step"):
            raise ValueError(
                f"networks_at_once = {plan.networks_at_once} and loop = {plan.loop!r} cannot be used for images from "
                "disk, which need one network at a time, step by step: give Plan(1, 'step', ...)"
            )
        if problem.steps_per_epoch < 1:
            raise ValueError(
                f"batch_size = {problem.recipe.batch_size} is larger than the training set: an epoch has no steps"
            )
        if plan.networks_at_once == 1 and problem.recipe.batch_size % plan.devices_of_all:
            raise ValueError(
                f"batch_size = {problem.recipe.batch_size} cannot be split over {plan.devices_of_all} devices: their "
                "number must divide it"
            )
        self.problem, self.method_at, self.plan = problem, method_at, plan
        self.placement = Placement(plan)
        with self.computing():
            self.data = self.placement.shared(problem.data)
            loop = Scanned if plan.loop == "scan" else Dispatched
            self.loop = loop(problem, method_at, self.placement)
            # Two programs: how examples are split does not depend on the width, and is compiled once for all of a
            # sweep.
            in_turn = jax.default_backend() == "cpu"  # where it trains now, not where its plan was made
            self._initialize = self.placement.compiled(self._initialize_one, once=True, in_turn=in_turn)
            self._source = self.placement.compiled(self._source_one, shared=1, once=True)
            self._pruned = self.placement.compiled(_pruned_one, once=True)

    def computing(self) -> AbstractContextManager[None]:
        """A context with the JAX settings used for training."""
        return computing_in(self.problem.recipe.precision)

    def prepare(self, points: Sequence[Point]) -> None:
        """Compiles what training a group needs; can be called in a thread while another program trains."""
        with self.computing():
            self.loop.prepare(*self.start(points), self.data)

    def start(self, points: Sequence[Point]) -> tuple[TrainingState, PyTree, Hyperparameters]:
        """State, data and hyperparameters of networks before the first step.

        There may be more rows than points: groups are padded with copies of their last network, so that all groups and
        devices have equally many networks; ``epoch`` trains the copies too.
        """
        with self.computing():
            return self._start(points)

    def _start(self, points: Sequence[Point]) -> tuple[TrainingState, PyTree, Hyperparameters]:
        self._check(points)
        filled = [*points, *[points[-1]] * (self.placement.filled(len(points)) - len(points))]
        seeds = np.array([point.seed for point in filled], np.uint32)
        hyperparameters = Hyperparameters(coordinates(filled))
        seeds, hyperparameters = self.placement.own((seeds, hyperparameters))
        state = self._initialize(seeds)
        if any(point.get("sparsity", 0.0) for point in filled):
            mask = self._masks(filled, seeds, hyperparameters, state)
            hyperparameters = hyperparameters._replace(mask=self.placement.own(mask))
            state = self._pruned(state, hyperparameters)
        source, carry = self._source(seeds, hyperparameters.point, state.params, self.data)
        return state._replace(carry=carry), source, hyperparameters

    def _check(self, points: Sequence[Point]) -> None:
        """Raises ``ValueError`` if there is no network, or the value of an axis is missing or makes no sense."""
        if not points:
            raise ValueError("points is empty: give one point per network")
        for point in points:
            names = {name for name, _ in point.axes}
            needed = {*ALWAYS, *self.problem.axes, *(("pruner",) if point.get("sparsity", 0.0) else ())}
            if missing := sorted(needed - names):
                raise ValueError(f"{point} has no value for {' and '.join(missing)}: pass it to Point.of")
            if not (hasattr(point.seed, "__index__") and 0 <= point.seed < 2**32):
                raise ValueError(f"seed must be a whole number in [0, 2**32), got {point.seed} in {point}")
            if names != {name for name, _ in points[0].axes}:
                raise ValueError(f"{point} has other axes than {points[0]}: give all points values on the same")
            for name in ("label_noise", "sparsity"):
                if not 0 <= point.get(name, 0.0) < 1:
                    raise ValueError(f"{name} must be in [0, 1), got {point[name]} in {point}")
            for name in ALWAYS:
                if not (math.isfinite(point[name]) and point[name] >= 0):
                    raise ValueError(f"{name} must be a finite number >= 0, got {point[name]} in {point}")

    def _initialize_one(self, seed: Integer[Array, ""]) -> TrainingState:
        key = jax.random.key(seed)
        model = self.problem.init(key_for(key, INITIALIZATION))
        return TrainingState(
            params=model.params,
            model=model.state,
            optimizer=self.problem.recipe.optimizer_at(
                self.problem.steps_per_epoch, 0.0, 0.0, self.problem.layers
            ).init(model.params),
            method=self.method_at(0.0).init(model.params),
            carry=(),
            key=key_for(key, TRAINING),
            epoch=jnp.zeros((), jnp.int32),
        )

    def _source_one(
        self, seed: Integer[Array, ""], point: Mapping[str, Float[Array, ""]], params: PyTree, data: PyTree
    ) -> tuple[PyTree, PyTree]:
        key = jax.random.key(seed)
        source = self.problem.source(data, key, point, params)
        return source, self.problem.carry(source, key_for(key, TRAINING))

    def _masks(
        self, points: Sequence[Point], seeds: Array, hyperparameters: Hyperparameters, state: TrainingState
    ) -> PyTree:
        """The pruning masks, from the first batch of every network."""
        plain = self.problem.plain

        def first(seed: Array, point: Any, state: TrainingState, data: PyTree) -> tuple[PyTree, PyTree]:
            model = Model(state.params, state.model)
            source = plain.source(data, jax.random.key(seed), point, state.params)
            return source, plain.first_batch(data, source, model, state.key)

        def batch(source: PyTree, row: PyTree, data: PyTree) -> PyTree:
            return plain.batch(data, source, row, None, "train")

        sources, index = self.placement.compiled(first, shared=1, once=True)(
            seeds, hyperparameters.point, state, self.data
        )
        # The host reads what is on the disk, network by network.
        index = jax.tree.map(lambda leaf: np.asarray(leaf)[:, None], index)
        own_sources = self.placement.on_one_device(sources)

        def read(rows: Callable[..., Any], at: int) -> PyTree:
            own_source, own_index = jax.tree.map(lambda leaf: leaf[at : at + 1], (own_sources, index))
            return next(iter(rows(own_source, own_index, "train")))

        with plain.reading() as rows:
            networks = [read(rows, at) for at in range(len(points))]
        stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves), *networks)
        batches = self.placement.compiled(batch, shared=1, once=True)(sources, stacked, self.data)
        models, batches = self.placement.on_one_device((Model(state.params, state.model), batches))
        return masks_of(plain, points, models, own_sources, batches, self._pruning_keys(points))

    @staticmethod
    def _pruning_keys(points: Sequence[Point]) -> Key[Array, " n"]:
        seeds = jnp.array([point.seed for point in points], jnp.uint32)
        return jax.vmap(lambda seed: key_for(jax.random.key(seed), "pruning"))(seeds)

    def epoch(
        self, state: TrainingState, source: PyTree, hyperparameters: Hyperparameters, last: bool
    ) -> tuple[TrainingState, dict[str, np.ndarray]]:
        """One epoch for every network.

        Args:
            state: the state; donated, so not usable afterwards.
            source: from ``start``.
            hyperparameters: from ``start``.
            last: whether to evaluate on the whole training set, too.

        Returns:
            The new state and metrics of shape ``(networks,)``: ``train_loss``, ``train_accuracy`` ... averaged over the
            epoch's clean passes; ``gradient_norm``, the mean norm of the applied gradient; ``valid_*`` and ``test_*``
            at the epoch's end; ``final_train_*`` over the whole training set at the epoch's end (NaN unless ``last``).
        """
        # All networks are at the same step.
        state, metrics = self.begin_epoch(state, source, hyperparameters, int(np.asarray(state.epoch)[0]), last)
        return state, metrics()

    @property
    def ahead(self) -> int:
        """How many epochs may be unread when the next one is begun."""
        return self.loop.ahead

    def begin_epoch(
        self, state: TrainingState, source: PyTree, hyperparameters: Hyperparameters, number: int, last: bool
    ) -> tuple[TrainingState, Callable[[], dict[str, np.ndarray]]]:
        """Like ``epoch``, without waiting for it: the next epoch can be begun before the metrics are read.

        Args:
            state: the state; donated, so not usable afterwards.
            source: from ``start``.
            hyperparameters: from ``start``.
            number: epochs completed before.
            last: whether to evaluate on the whole training set, too.

        Returns:
            The new state, and a function that waits for the epoch and returns its metrics.
        """
        with self.computing():
            return self.loop.begin_epoch(state, source, hyperparameters, self.data, number, last)

    def judged(self, points: Sequence[Point], params: PyTree, model: PyTree) -> dict[str, np.ndarray]:
        """Evaluates networks with given parameters, without training.

        Args:
            points: the points of the networks, as many as one program trains.
            params: parameters, leading axis over networks.
            model: the leaves of their states, leading axis over networks.

        Returns:
            ``valid_*``, ``test_*`` and ``final_train_*``.

        Raises:
            ValueError: if the plan is not step by step.
        """
        if self.plan.loop != "step" or not isinstance(self.loop, Dispatched):
            raise ValueError(f"loop = {self.plan.loop!r} evaluates only after an epoch: give Plan(..., 'step', ...)")
        with self.computing():
            state, source, hyperparameters = self._start(points)
            state = state._replace(params=self.placement.own(params), model=self.placement.own(model))
            return self.loop.judged(state, source, hyperparameters, self.data)


def _pruned_one(state: TrainingState, hyperparameters: Hyperparameters) -> TrainingState:
    return state._replace(params=masked(state.params, hyperparameters))
