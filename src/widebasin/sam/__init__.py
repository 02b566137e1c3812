"""Gradients of the perturbed loss: the SAM family.

Two ways in:

* ``sam.value_and_grad(loss_fn, rho=0.05)`` takes the place of ``jax.value_and_grad(loss_fn)``.
* A *method* (``sam.SGD()``, ``sam.SAM(rho=0.05)``) is a frozen dataclass of hyperparameters with ``init`` and
  ``value_and_grad``. Methods are pytrees whose leaves are their hyperparameters, so a method can be passed through
  ``jax.jit`` and ``jax.vmap``: one compiled program serves every radius.

Both only compute gradients. Any optax optimizer, or none, applies them.
"""

from widebasin.sam._gradient import ascent_point, value_and_grad
from widebasin.sam._method import Mask, Method
from widebasin.sam._registry import METHODS, NamedMethod
from widebasin.sam._sam import SAM
from widebasin.sam._sgd import SGD

__all__ = ["METHODS", "SAM", "SGD", "Mask", "Method", "NamedMethod", "ascent_point", "value_and_grad"]
