"""The base method: the plain gradient."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Array, Key, PyTree

from widebasin.sam._batch import Batch
from widebasin.sam._method import Evaluation, Method, Passes, Step, register_method


@register_method
@dataclass(frozen=True)
class SGD(Method):
    """The plain gradient of the batch, ``g_B(w)``: one gradient per step. Equals ``SAM(rho=0)``."""

    takes_ascent_loss: ClassVar[bool] = True

    @property
    def passes_per_step(self) -> Passes:
        """One gradient."""
        return Passes(1.0, 1.0)

    def evaluate(self, batch: Batch, state: PyTree, key: Key[Array, ""] | None, step: Step | None) -> Evaluation:
        """See ``Method.evaluate``."""
        del key, step
        return *batch.clean(), state
