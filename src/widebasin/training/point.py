"""One network of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

Value = float | int | str


@dataclass(frozen=True, order=True)
class Point:
    """The position of a network in a grid: its seed, and a value for every axis. Plain data.

    Attributes:
        seed: determines split, initialization, order of the data, noisy labels and everything else that is random.
        axes: name of an axis -> value, as pairs: ``rho``, ``learning_rate``, ``weight_decay``, ``label_noise``,
            ``sparsity``, ``pruner``, ``output_scale``, and a workload's own axes.
    """

    seed: int
    axes: tuple[tuple[str, Value], ...]

    @classmethod
    def of(cls, seed: int, **axes: Value) -> "Point":
        """A point from the values of its axes."""
        return cls(seed, tuple(axes.items()))

    def __getitem__(self, name: str) -> Any:
        """The value on an axis; ``KeyError`` if there is no such axis."""
        return dict(self.axes)[name]

    def get(self, name: str, default: Value) -> Any:
        """The value on an axis, or a default if there is no such axis."""
        return dict(self.axes).get(name, default)

    def moved(self, **axes: Value) -> "Point":
        """The same point with other values on some axes, which may include ``seed``."""
        seed = int(axes.pop("seed", self.seed))
        return replace(self, seed=seed, axes=tuple((dict(self.axes) | axes).items()))


def coordinates(points: Sequence[Point]) -> dict[str, Float[np.ndarray, " points"]]:
    """The numeric values of points as arrays, axis by axis; axes of text are left out."""
    names = [name for name, value in points[0].axes if not isinstance(value, str)]
    # NumPy's: an array of JAX's would be converted by a small program for every shape.
    return {name: np.array([point[name] for point in points], jnp.result_type(float)) for name in names}
