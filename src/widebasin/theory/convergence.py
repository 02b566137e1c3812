"""Linear convergence of stochastic SAM where the model interpolates."""

import math
from dataclasses import dataclass

from widebasin.theory.numbers import ROUNDING, not_negative, positive


@dataclass(frozen=True)
class Convergence:
    """What is guaranteed: ``E f(w_t) <= factor^t f(w_0)``.

    Attributes:
        learning_rate: the step size that the factor is for; 0 if no step size is guaranteed to contract.
        factor: factor of the expected loss per step; 1 if nothing is guaranteed.
        max_rho: radii below it contract, at their best step size.
        max_learning_rate: step sizes below it contract at this radius.
    """

    learning_rate: float
    factor: float
    max_rho: float
    max_learning_rate: float

    @property
    def guaranteed(self) -> bool:
        """Whether the expected loss is guaranteed to contract."""
        return self.factor < 1

    def steps(self, share: float) -> int | float:
        """Steps until the expected loss is guaranteed to be at most ``share`` of the initial loss; may be infinite.

        Raises:
            ValueError: if ``share`` does not lie in (0, 1).
        """
        if not 0 < share < 1:
            raise ValueError(f"share must lie in (0, 1), such as 0.01 for a hundredth of the initial loss, got {share}")
        if not self.guaranteed:
            return math.inf
        return math.ceil(math.log(share) / math.log(self.factor)) if self.factor > 0 else 1


def convergence(
    *,
    smoothness_each: float,
    smoothness: float,
    pl: float,
    rho: float = 0.0,
    batch_size: int = 1,
    pl_convention: str = "half",
    learning_rate: float | None = None,
) -> Convergence:
    """The guaranteed linear rate of stochastic SAM on a loss that is smooth, PL and interpolated.

    With ``a`` the PL constant, ``(1/2) ||grad f||^2 >= a f``, and ``k = (beta + a (B - 1)) / B``, a step of size
    ``eta`` gives ``E f(w+) <= [1 - eta c + k lambda eta^2 (1 + beta rho)^2] f(w)`` with
    ``c = 2 a - (a + k) beta rho``. The best step size is ``c / (2 k lambda (1 + beta rho)^2)``, its factor
    ``1 - eta c / 2``. Both need ``rho < 2 a / ((a + k) beta)``.

    Args:
        smoothness_each: ``beta``, a Lipschitz constant of the gradient of every example's loss.
        smoothness: ``lambda``, the same for the mean loss; at most ``beta``.
        pl: the PL constant of the mean loss, in the given convention; at most ``lambda`` (``full``: ``2 lambda``).
        rho: radius of the unnormalized ascent, >= 0.
        batch_size: ``B`` examples, drawn with replacement.
        pl_convention: ``half`` for ``(1/2) ||grad f||^2 >= pl f``, ``full`` for ``||grad f||^2 >= pl f``.
        learning_rate: step size ``eta``; by default the best one.

    Raises:
        ValueError: with the argument's name, if the constants contradict each other or are not positive.

    Source: arXiv 2311.17539; at ``rho = 0`` Bassily et al. 2018.

    Example:
        >>> from widebasin import theory
        >>> found = theory.convergence(smoothness_each=2.0, smoothness=1.0, pl=0.5, rho=0.1)
        >>> round(found.learning_rate, 4), round(found.factor, 4), found.max_rho
        (0.0868, 0.9783, 0.2)
    """
    beta, smooth = positive("smoothness_each", smoothness_each), positive("smoothness", smoothness)
    if pl_convention not in ("half", "full"):
        raise ValueError(f"pl_convention must be 'half' or 'full', got {pl_convention!r}")
    a = positive("pl", pl) / (1.0 if pl_convention == "half" else 2.0)
    not_negative("rho", rho)
    if not batch_size >= 1 or batch_size % 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, got {batch_size}")
    if smooth > beta * (1 + ROUNDING):
        raise ValueError(f"smoothness must be at most smoothness_each = {beta:g}, which bounds it, got {smoothness:g}")
    if a > smooth * (1 + ROUNDING):
        most = smooth if pl_convention == "half" else 2 * smooth
        raise ValueError(f"pl must be at most {most:g}, which smoothness = {smoothness:g} implies, got {pl:g}")
    k = (beta + a * (batch_size - 1)) / batch_size
    descent = 2 * a - (a + k) * beta * rho
    growth = k * smooth * (1 + beta * rho) ** 2
    max_rho = 2 * a / ((a + k) * beta)
    largest = max(descent, 0.0) / growth
    eta = largest / 2 if learning_rate is None else positive("learning_rate", learning_rate)
    factor = 1 - eta * descent + growth * eta**2
    return Convergence(eta, min(max(factor, 0.0), 1.0), max_rho, largest)
