"""The lazy regime: trains the scaled change of a model's outputs since initialization."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Int, Key, PyTree

from widebasin.parametrization import Multipliers
from widebasin.statistics import Metric
from widebasin.training.problem import Model, Problem, Totals
from widebasin.training.recipe import Recipe
from widebasin.training.supervised import Examples, Supervised


class CenteredSource(NamedTuple):
    """The data that a centered network is trained on.

    Attributes:
        examples: examples of the wrapped problem.
        origin: the parameters at initialization, without pruned ones.
        output_scale: alpha.
    """

    examples: Examples
    origin: PyTree
    output_scale: Float[Array, "..."]


@dataclass(frozen=True, eq=False)
class Centered(Problem):
    """Trains ``alpha (f(w, x) - f(w0, x))`` with the loss over ``alpha^2``; alpha is the axis ``output_scale``.

    At large alpha the parameters hardly move, and the model is nearly linear in them. The reported loss is not divided
    by ``alpha^2``.

    Source: Chizat et al. 2019 (arXiv 1812.07956).

    Attributes:
        problem: the problem to wrap; its model must have no state.
    """

    problem: Supervised

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for a model with a state, and for images streamed from disk."""
        if self.problem.network.stateful:
            raise ValueError("a centered model must have no state: remove batch normalization")
        if self.problem.from_disk:
            raise ValueError("a centered model must be trained on data in memory, not on images streamed from disk")

    @property
    def recipe(self) -> Recipe:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The recipe of the wrapped problem."""
        return self.problem.recipe

    @property
    def layers(self) -> Multipliers | None:
        """Those of the wrapped problem."""
        return self.problem.layers

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the wrapped problem."""
        return self.problem.metrics

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the wrapped problem, and the scale."""
        return (*self.problem.axes, "output_scale")

    @property
    def steps_per_epoch(self) -> int:
        """The steps per epoch of the wrapped problem."""
        return self.problem.steps_per_epoch

    @property
    def data(self) -> PyTree:
        """The data of the wrapped problem."""
        return self.problem.data

    def init(self, key: Key[Array, ""]) -> Model:
        """See ``Problem``."""
        return self.problem.init(key)

    @property
    def plain(self) -> Supervised:
        """The wrapped problem."""
        return self.problem

    @property
    def structure(self) -> PyTree:
        """See ``Problem``."""
        return self.problem.structure

    def source(
        self, data: PyTree, key: Key[Array, ""], point: Mapping[str, Float[Array, ""]], params: PyTree
    ) -> CenteredSource:
        """The source of the wrapped problem, with the origin and the scale."""
        return CenteredSource(self.problem.source(data, key, point, params), params, point["output_scale"])

    def carry(self, source: CenteredSource, key: Key[Array, ""]) -> PyTree:
        """See ``Problem``."""
        return self.problem.carry(source.examples, key)

    def epoch(
        self,
        data: PyTree,
        source: CenteredSource,
        carry: PyTree,
        model: Model,
        key: Key[Array, ""],
        number: Int[Array, ""],
    ) -> tuple[PyTree, PyTree]:
        """See ``Problem``."""
        return self.problem.epoch(data, source.examples, carry, model, key, number)

    def batch(
        self, data: PyTree, source: CenteredSource, index: PyTree, key: Key[Array, ""] | None, part: str
    ) -> PyTree:
        """See ``Problem``."""
        return self.problem.batch(data, source.examples, index, key, part)

    def _outputs(
        self, model: Model, source: CenteredSource, batch: Any, keys: Key[Array, " examples"] | None, training: bool
    ) -> PyTree:
        here, _ = self.problem.outputs(model, source.examples, batch, keys, training=training)
        origin = Model(source.origin, model.state)
        before, _ = self.problem.outputs(origin, source.examples, batch, keys, training=training)
        return jax.tree.map(lambda after, first: source.output_scale * (after - first), here, before)

    def losses(
        self, model: Model, source: Any, batch: Any, keys: Key[Array, " examples"] | None, *, training: bool
    ) -> tuple[Totals, PyTree]:
        """See ``Problem``."""
        return self.problem.totals(self._outputs(model, source, batch, keys, training), batch), model.state

    def minimized(self, totals: Totals, source: CenteredSource) -> Float[Array, ""]:
        """The loss over ``alpha^2``."""
        return super().minimized(totals, source) / source.output_scale**2

    def example_losses(
        self, model: Model, source: Any, batch: Any, keys: Key[Array, " examples"] | None
    ) -> Float[Array, " examples"]:
        """See ``Problem``."""
        outputs = self._outputs(model, source, batch, keys, training=True)
        return self.problem.example_losses_of(outputs, batch) / source.output_scale**2

    def blocks(self, part: str) -> PyTree:
        """See ``Problem``."""
        return self.problem.blocks(part)

    def collected(self, model: Model, source: Any, batch: Any) -> PyTree:
        """See ``Problem``; uses the centered, scaled outputs."""
        if not self.problem.objective.of_dataset:
            return ()
        return self.problem.collected_of(self._outputs(model, source, batch, None, training=False), batch)

    def whole(self, blocks: PyTree) -> dict[str, float]:
        """See ``Problem``."""
        return self.problem.whole(blocks)
