"""Radii that follow the learning rate."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float


def radius_schedule(
    learning_rate: Callable[..., Float[Array, ""] | float],
    rho: tuple[float, float],
    learning_rates: tuple[float, float],
) -> Callable[..., Float[Array, ""] | float]:
    """A radius tied to the learning rate, as an optax schedule (step -> radius).

    ``rho_t = rho_low + (rho_high - rho_low) (lr_t - lr_low) / (lr_high - lr_low)``

    Args:
        learning_rate: step -> learning rate, such as an optax schedule.
        rho: ``(rho_low, rho_high)``, the radii at the lowest and at the highest learning rate; ``rho_low = 0`` is
            allowed, and a radius of 0 is plain gradient descent.
        learning_rates: ``(lr_low, lr_high)`` of the schedule. ``(0, lr)`` with ``rho = (0, r)`` makes radius and
            learning rate proportional.

    Raises:
        ValueError: if a radius is negative, or the learning rates are not increasing.

    Source: Zhuang et al. 2022, section 4.

    Example:
        >>> import optax
        >>> from widebasin import sam
        >>> learning_rate = optax.linear_schedule(0.1, 0.0, 100)
        >>> rho = sam.radius_schedule(learning_rate, (0.0, 0.5), (0.0, 0.1))
        >>> [round(float(rho(step)), 3) for step in (0, 50, 100)]
        [0.5, 0.25, 0.0]
    """
    (rho_low, rho_high), (low, high) = rho, learning_rates
    if min(rho_low, rho_high) < 0:
        raise ValueError(f"rho must be two radii >= 0, got {rho}")
    if not low < high:
        raise ValueError(f"learning_rates must be the lowest and highest of the schedule, got {learning_rates}")

    def radius(step: Array | int) -> Float[Array, ""] | float:
        return rho_low + (rho_high - rho_low) * jax.numpy.clip((learning_rate(step) - low) / (high - low), 0.0, 1.0)

    return radius
