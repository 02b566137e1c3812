"""How initialization, learning rates and perturbations of layers follow the width: standard, muP and muP^2.

``multipliers(model, base)`` compares the shapes of a model with those of the same model at a base width, as the ``mup``
package does, and gives the factors of every parameter. At the base width all of them are 1.
"""

from widebasin.parametrization.growth import Growth, growth
from widebasin.parametrization.multipliers import Multipliers, initialized, multipliers, perturbation
from widebasin.parametrization.names import MUP, MUP2, PARAMETRIZATIONS, STANDARD

__all__ = [
    "MUP",
    "MUP2",
    "PARAMETRIZATIONS",
    "STANDARD",
    "Growth",
    "Multipliers",
    "growth",
    "initialized",
    "multipliers",
    "perturbation",
]
