"""The methods by the names that the command line uses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from widebasin.sam._method import Method
from widebasin.sam._sam import SAM
from widebasin.sam._sgd import SGD


@dataclass(frozen=True)
class NamedMethod:
    """A method that only wants a radius.

    Attributes:
        title: as it is written in text and figures.
        summary: what it computes.
        with_radius: radius -> method.
    """

    title: str
    summary: str
    with_radius: Callable[[Any], Method]


METHODS: dict[str, NamedMethod] = {
    "sgd": NamedMethod("SGD", "the plain gradient g(w); has no radius", lambda rho: SGD()),
    "sam": NamedMethod("SAM", "g(w + rho g(w) / ||g(w)||), the same batch twice", lambda rho: SAM(rho=rho)),
    "unnormalized-sam": NamedMethod(
        "unnormalized SAM",
        "g(w + rho g(w)), the SAM of the theory",
        lambda rho: SAM(rho=rho, normalize=False),
    ),
}
"""Name on the command line -> method. ``sgd`` ignores the radius: its networks have rho = 0."""
