"""Label noise: wrong labels on purpose."""

from numbers import Real

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from widebasin.data.randomness import permutation

LABEL_NOISE_KINDS = ("symmetric", "asymmetric")


def corrupt_labels(
    key: Key[Array, ""],
    labels: Int[Array, "examples ..."],
    num_classes: int,
    rate: float | Float[Array, ""],
    kind: str = "symmetric",
) -> Int[Array, "examples ..."]:
    """Changes ``floor(rate * examples)`` labels to a wrong class (off by at most one beyond 100,000 examples).

    If examples have several labels, such as the tags of a sentence, every label is wrong with probability ``rate``
    instead, independently. Missing labels (-1) stay missing.

    * ``symmetric``: a class drawn uniformly among the ``num_classes - 1`` others.
    * ``asymmetric``: the next class, ``(label + 1) mod num_classes``.

    Examples are corrupted in an order that depends only on the key: labels that are wrong at a low rate are wrong in
    the same way at every higher rate. Rates are therefore paired, as radii are.

    Args:
        key: key that determines the labels and, for symmetric noise, the wrong classes.
        labels: true classes in ``0 .. num_classes - 1``; with several labels per example, -1 where one is missing.
        num_classes: at least 2.
        rate: fraction of wrong labels in [0, 1); a number or a traced scalar.
        kind: one of ``LABEL_NOISE_KINDS``.

    Raises:
        ValueError: for an unknown kind, fewer than two classes, or a rate of Python or NumPy outside [0, 1).
    """
    if not hasattr(num_classes, "__index__") or num_classes < 2:
        raise ValueError(f"num_classes must be a whole number of at least 2, got {num_classes}")
    if isinstance(rate, Real) and not 0 <= rate < 1:
        raise ValueError(f"rate must be in [0, 1), got {rate}")
    which, classes = jax.random.split(key)
    if labels.ndim == 1:
        # The small term keeps 0.3 * 1000 at 300 where float32 puts it just below.
        corrupted = permutation(which, labels.shape[0]) < jnp.floor(rate * labels.shape[0] + 1e-3)
    else:
        corrupted = (jax.random.uniform(which, labels.shape) < rate) & (labels >= 0)
    if kind == "symmetric":
        shift = jax.random.randint(classes, labels.shape, 1, num_classes, dtype=labels.dtype)
    elif kind == "asymmetric":
        shift = jnp.ones_like(labels)
    else:
        raise ValueError(f"label noise kind must be one of {', '.join(LABEL_NOISE_KINDS)}, got {kind!r}")
    # In 32 bits: the sum of two bytes can overflow.
    other = (labels.astype(jnp.int32) + shift) % num_classes
    return jnp.where(corrupted, other.astype(labels.dtype), labels)
