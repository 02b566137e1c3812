"""The methods by the names that the command line uses."""

from collections.abc import Callable
from typing import Any

from widebasin.sam._method import Method
from widebasin.sam._sam import SAM
from widebasin.sam._sgd import SGD

METHODS: dict[str, Callable[[Any], Method]] = {
    "sgd": lambda rho: SGD(),
    "sam": lambda rho: SAM(rho=rho),
    "unnormalized-sam": lambda rho: SAM(rho=rho, normalize=False),
}
"""Name -> a function from the radius to the method. ``sgd`` ignores the radius: its networks have rho = 0."""
