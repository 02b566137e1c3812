"""The order of the examples."""

import jax
from jaxtyping import Array, Int, Key

from widebasin.data.randomness import permutation


def epoch_batches(
    key: Key[Array, ""], epoch: int | Int[Array, ""], examples: int, batch_size: int
) -> Int[Array, "steps batch_size"]:
    """The batches of one epoch, as positions in the training set: a fresh permutation for every epoch.

    Computed from ``fold_in(key, epoch)`` on the device, so epoch 7 has the same batches whether or not epochs 0 to 6
    ran in this process. The last ``examples mod batch_size`` positions of the permutation are not used in the epoch.
    """
    order = permutation(jax.random.fold_in(key, epoch), examples)
    steps = examples // batch_size
    return order[: steps * batch_size].reshape(steps, batch_size)
