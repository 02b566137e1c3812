"""What the theory of stochastic SAM says for given constants: rates of convergence, and linear stability.

All functions map numbers to numbers, without model or data. SAM here is unnormalized, ``g_B(w + rho g_B(w))``, with the
same batch in both gradients; ``rho = 0`` is stochastic gradient descent. Source of both: arXiv 2311.17539.
"""

from widebasin.theory.convergence import Convergence, convergence
from widebasin.theory.stability import Condition, Stability, largest_sharpness, stability

__all__ = ["Condition", "Convergence", "Stability", "convergence", "largest_sharpness", "stability"]
