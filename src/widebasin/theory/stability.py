"""Linear stability of a minimum under stochastic SAM: conditions that can be checked one by one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from widebasin.theory.numbers import ROUNDING, not_negative, positive


@dataclass(frozen=True)
class Condition:
    """One of the conditions of ``stability``.

    Attributes:
        name: name of the quantity on the left side.
        value: the left side.
        bound: the right side; ``None`` if the condition does not exist for this step size and radius.
        reason: why there is no bound; empty if there is one.
    """

    name: str
    value: float
    bound: float | None
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Whether the condition is met, up to rounding; a condition that does not exist counts as met."""
        return self.bound is None or self.value <= self.bound * (1 + ROUNDING)


@dataclass(frozen=True)
class Stability:
    """The conditions, and what follows from them.

    Attributes:
        conditions: the conditions on the sharpness and on the given orders 2, 3 and 4 of non-uniformity.
        implied: whether condition (6) implies all of them, given that ``D_3`` and ``D_4`` are positive semidefinite:
            for ``eta >= 2 rho``. For smaller ``eta``, the term with ``D_2`` is negative and may compensate the others.
    """

    conditions: tuple[Condition, ...]
    implied: bool

    @property
    def verdict(self) -> str:
        """``not linearly stable``, ``undecided`` (condition (6) cannot hold, or may not), or ``not ruled out``.

        The condition on the sharpness is necessary for linear stability: if it is violated, the expected position
        itself moves away. The others are necessary only for condition (6), which is sufficient for stability.
        """
        if not self.conditions[0].holds:
            return "not linearly stable"
        if self.holds:
            return "not ruled out"
        return "undecided, because condition (6) cannot hold" if self.implied else "undecided"

    @property
    def holds(self) -> bool:
        """Whether all conditions are met."""
        return all(condition.holds for condition in self.conditions)


def stability(
    *,
    sharpness: float,
    learning_rate: float,
    rho: float = 0.0,
    nonuniformity: Mapping[int, float] | None = None,
) -> Stability:
    """Checks, term by term, what condition (6) requires; it is sufficient for linear stability at batch size 1.

    With per-sample Hessians ``H_i``, their mean ``H``, ``D_k = mean_i H_i^k - H^k``, sharpness
    ``a = lambda_max(H)`` and non-uniformity ``s_k = max(lambda_max(D_k), 0)^(1/k)``:

    * ``a (1 + rho a) <= 2 / eta``
    * ``s_2^2 <= 1 / (eta (eta - 2 rho))``, which exists only for ``eta > 2 rho``
    * ``s_3^3 <= 1 / (2 eta^2 rho)`` and ``s_4^4 <= 1 / (eta^2 rho^2)``, which exist only for ``rho > 0``

    At ``rho = 0`` these are the conditions for stochastic gradient descent, ``a <= 2 / eta`` and ``s_2 <= 1 / eta``.

    Args:
        sharpness: ``a`` >= 0.
        learning_rate: ``eta`` > 0.
        rho: radius of the unnormalized ascent, >= 0.
        nonuniformity: order 2, 3 or 4 -> ``s_k`` >= 0; orders that are left out are not checked.

    Raises:
        ValueError: with the argument's name, if a number is negative or not finite, or an order is not 2, 3 or 4.

    The first is necessary for linear stability: the expected position is multiplied by ``I - eta H - eta rho mean_i
    H_i^2`` at every step. The others are necessary for condition (6), where ``eta >= 2 rho`` and ``D_3``, ``D_4`` are
    positive semidefinite; a minimum that violates one of them may still be stable. See ``Stability.verdict``.

    Source: arXiv 2311.17539, condition (7); Wu et al. 2018 at ``rho = 0``.

    Example:
        >>> from widebasin import theory
        >>> found = theory.stability(sharpness=15.0, nonuniformity={2: 8.0}, learning_rate=0.1, rho=0.04)
        >>> [(c.name, round(c.value, 2), round(c.bound, 2), c.holds) for c in found.conditions]
        [('a (1 + rho a)', 24.0, 20.0, False), ('s_2^2', 64.0, 500.0, True)]
    """
    a, rho = not_negative("sharpness", sharpness), not_negative("rho", rho)
    eta = positive("learning_rate", learning_rate)
    conditions = [Condition("a (1 + rho a)", a * (1 + rho * a), 2 / eta)]
    for order, value in sorted((nonuniformity or {}).items()):
        if order not in (2, 3, 4):
            raise ValueError(f"nonuniformity must have orders 2, 3 or 4, got {order}")
        moment = not_negative(f"nonuniformity[{order}]", value) ** order
        name = f"s_{order}^{order}"
        if order == 2:
            gap = eta - 2 * rho
            reason = "" if gap > 0 else f"the learning rate {eta:g} is not above 2 rho = {2 * rho:g}"
            conditions.append(Condition(name, moment, 1 / (eta * gap) if gap > 0 else None, reason))
        else:
            weight = 2 * eta**2 * rho if order == 3 else eta**2 * rho**2
            reason = "" if weight > 0 else "rho is 0"
            conditions.append(Condition(name, moment, 1 / weight if weight > 0 else None, reason))
    return Stability(tuple(conditions), implied=eta >= 2 * rho)


def largest_sharpness(*, learning_rate: float, rho: float = 0.0) -> float:
    """The sharpness up to which the first condition of ``stability`` holds: the root of ``a (1 + rho a) = 2 / eta``.

    ``(sqrt(1 + 8 rho / eta) - 1) / (2 rho)``, and ``2 / eta`` at ``rho = 0``: the larger the radius, the flatter a
    stable minimum has to be.

    Raises:
        ValueError: with the argument's name, if ``learning_rate`` is not positive or ``rho`` is negative.

    Example:
        >>> from widebasin import theory
        >>> [round(theory.largest_sharpness(learning_rate=0.1, rho=rho), 2) for rho in (0.0, 0.05)]
        [20.0, 12.36]
    """
    eta, rho = positive("learning_rate", learning_rate), not_negative("rho", rho)
    # The other form of the root loses no digits where rho is small.
    return 4 / (eta * (1 + math.sqrt(1 + 8 * rho / eta)))
