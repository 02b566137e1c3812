"""The methods by their names on the command line."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from widebasin.sam._asam import ASAM
from widebasin.sam._esam import ESAM
from widebasin.sam._friendly import FriendlySAM
from widebasin.sam._gsam import GSAM
from widebasin.sam._linearized import LinearizedSAM
from widebasin.sam._method import Method
from widebasin.sam._periodic import LookSAM, SAMEveryK
from widebasin.sam._random import RandomPerturbation
from widebasin.sam._sam import SAM, MultiStepSAM
from widebasin.sam._sgd import SGD
from widebasin.sam._ssam import SSAM
from widebasin.sam._wsam import WSAM


@dataclass(frozen=True)
class NamedMethod:
    """A method that needs only a radius; everything else has its default.

    Attributes:
        title: its name in text and figures.
        summary: what it computes.
        with_radius: radius -> method.
    """

    title: str
    summary: str
    with_radius: Callable[[Any], Method]


METHODS: dict[str, NamedMethod] = {
    "sgd": NamedMethod("SGD", "the plain gradient g(w); has no radius", lambda rho: SGD()),
    "sam": NamedMethod("SAM", "g(w + rho g(w) / ||g(w)||), the same batch twice", lambda rho: SAM(rho)),
    "unnormalized-sam": NamedMethod(
        "unnormalized SAM", "g(w + rho g(w)), the SAM of the theory", lambda rho: SAM(rho, normalize=False)
    ),
    "multi-step-sam": NamedMethod("multi-step SAM", "an ascent of 2 steps of length rho / 2", MultiStepSAM),
    "random-perturbation": NamedMethod(
        "random perturbation", "the gradient in a random direction at distance rho (ablation)", RandomPerturbation
    ),
    "asam": NamedMethod("ASAM", "ascent in units of |w| + 0.01; needs radii about 10 times SAM's", ASAM),
    "gsam": NamedMethod("GSAM", "SAM minus 0.1 of the clean gradient's orthogonal part", GSAM),
    "looksam": NamedMethod("LookSAM", "SAM every 5 steps, its orthogonal part reused in between", LookSAM),
    "sam-every-5": NamedMethod("SAM every 5", "SAM every 5 steps, SGD in between", SAMEveryK),
    "esam": NamedMethod("ESAM", "60% of the tensors perturbed, the half of the examples whose loss rises most", ESAM),
    "friendly-sam": NamedMethod("F-SAM", "ascent along the gradient minus its moving average", FriendlySAM),
    "wsam": NamedMethod("WSAM", "the loss plus 9 times the sharpness (gamma 0.9)", WSAM),
    "ssam": NamedMethod("SSAM", "the half of the parameters with the highest Fisher information perturbed", SSAM),
    "random-ssam": NamedMethod(
        "random SSAM", "a random half of the parameters perturbed", lambda rho: SSAM(rho, scores="random")
    ),
    "linearized-sam": NamedMethod(
        "linearized SAM", "unnormalized SAM on the quadratic model of the loss around initialization", LinearizedSAM
    ),
}
"""Name on the command line -> method. ``sgd`` ignores the radius: its networks have rho = 0."""
