"""What training changes, and what it leaves as it is."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from widebasin.sparsity import apply_mask
from widebasin.training.problem import Model


class TrainingState(NamedTuple):
    """Everything that changes during training. Every leaf has a leading axis over networks.

    Attributes:
        params: the model's floating-point arrays.
        model: the model's own state: running statistics of batch normalization.
        optimizer: state of the optax optimizer, with its step count.
        method: state of the method of the SAM family.
        carry: what the problem carries from epoch to epoch; nothing for data sets.
        key: determines the order of the data in all future epochs, and the method's own randomness.
        epoch: epochs completed.
    """

    params: PyTree
    model: PyTree
    optimizer: PyTree
    method: PyTree
    carry: PyTree
    key: Key[Array, "..."]
    epoch: Int[Array, "..."]

    def network(self, hyperparameters: "Hyperparameters") -> Model:
        """The network for evaluation, without pruned parameters."""
        return Model(masked(self.params, hyperparameters), self.model)


class Hyperparameters(NamedTuple):
    """What differs between networks and is constant during training; leading axis over networks.

    Attributes:
        point: axis of the grid -> value.
        mask: which parameters are kept; ``None`` if all networks are dense.
    """

    point: Mapping[str, Float[Array, "..."] | Float[np.ndarray, "..."]]
    mask: PyTree = None


def masked(params: PyTree, hyperparameters: Hyperparameters) -> PyTree:
    """The parameters without pruned ones."""
    return params if hyperparameters.mask is None else apply_mask(params, hyperparameters.mask)
