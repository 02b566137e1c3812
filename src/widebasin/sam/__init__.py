"""Gradients of the perturbed loss: the SAM family.

Three interfaces:

* ``sam.value_and_grad(loss_fn, rho=0.05)`` replaces ``jax.value_and_grad(loss_fn)``.
* A *method* (``sam.SGD()``, ``sam.SAM(rho=0.05)``, ``sam.ASAM(rho=0.5)`` ...) is a frozen dataclass of hyperparameters
  with ``init`` and ``value_and_grad``. Methods are pytrees whose leaves are their hyperparameters, so a method can be
  passed through ``jax.jit`` and ``jax.vmap``: one compiled program serves every radius.
* ``sam.gradient_transformation(method)`` is a method as an optax transformation, to chain before an optimizer.

All of them only compute gradients; use any optax optimizer, or none, to apply them.
"""

from widebasin.sam._asam import ASAM
from widebasin.sam._ascent import Mask, Scales, Scaling, ascent_point
from widebasin.sam._batch import Batch, average_over_groups, concatenate_over_groups
from widebasin.sam._differentiation import decayed, microbatched
from widebasin.sam._esam import ESAM
from widebasin.sam._friendly import FriendlySAM
from widebasin.sam._gradient import value_and_grad
from widebasin.sam._gsam import GSAM
from widebasin.sam._linearized import LinearizedSAM
from widebasin.sam._loss_scale import DynamicLossScale, all_finite, keep_if
from widebasin.sam._masks import by_dimensions, by_path
from widebasin.sam._method import Method, Passes, Perturbing
from widebasin.sam._periodic import LookSAM, SAMEveryK
from widebasin.sam._random import RandomPerturbation
from widebasin.sam._registry import METHODS, NamedMethod, canonical_name, method_named
from widebasin.sam._sam import SAM, MultiStepSAM
from widebasin.sam._schedule import radius_schedule
from widebasin.sam._sgd import SGD
from widebasin.sam._ssam import SSAM
from widebasin.sam._transformation import decoupled_wsam, gradient_transformation
from widebasin.sam._wsam import WSAM

__all__ = [
    "ASAM",
    "ESAM",
    "GSAM",
    "METHODS",
    "SAM",
    "SGD",
    "SSAM",
    "WSAM",
    "Batch",
    "DynamicLossScale",
    "FriendlySAM",
    "LinearizedSAM",
    "LookSAM",
    "Mask",
    "Method",
    "MultiStepSAM",
    "NamedMethod",
    "Passes",
    "Perturbing",
    "RandomPerturbation",
    "SAMEveryK",
    "Scales",
    "Scaling",
    "all_finite",
    "ascent_point",
    "average_over_groups",
    "by_dimensions",
    "by_path",
    "canonical_name",
    "concatenate_over_groups",
    "decayed",
    "decoupled_wsam",
    "gradient_transformation",
    "keep_if",
    "method_named",
    "microbatched",
    "radius_schedule",
    "value_and_grad",
]
