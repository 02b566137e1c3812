"""How initialization, learning rates and perturbations of layers follow the width: standard, muP and muP^2.

``multipliers(model, base)`` compares the shapes of a model with those of the same model at a base width, as the ``mup``
package does, and gives the factors of every parameter. At the base width all of them are 1. ``activation_sizes`` and
``layer_effects`` check that a network keeps its sizes as it widens.
"""

from widebasin.parametrization.coordinates import activation_sizes, layer_effects, layer_names, layer_roles
from widebasin.parametrization.growth import Growth, growth
from widebasin.parametrization.multipliers import (
    Multipliers,
    initialized,
    multipliers,
    perturbation,
    structured,
    with_perturbation,
)
from widebasin.parametrization.names import MUP, MUP2, PARAMETRIZATIONS, STANDARD

__all__ = [
    "MUP",
    "MUP2",
    "PARAMETRIZATIONS",
    "STANDARD",
    "Growth",
    "Multipliers",
    "activation_sizes",
    "growth",
    "initialized",
    "layer_effects",
    "layer_names",
    "layer_roles",
    "multipliers",
    "perturbation",
    "structured",
    "with_perturbation",
]
