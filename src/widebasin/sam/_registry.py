"""The methods by their names on the command line, with hyperparameters in the name."""

import dataclasses
import functools
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
    """A method that needs only a radius; everything else is set.

    Attributes:
        title: its name in text and figures.
        summary: what it computes with the default hyperparameters.
        with_radius: radius -> method.
    """

    title: str
    summary: str
    with_radius: Callable[[Any], Method]

    @property
    def hyperparameters(self) -> dict[str, bool | int | float | str]:
        """Hyperparameters that a name can set, besides the radius: numbers, switches and choices."""
        method = self.with_radius(0.0)
        values = {one.name: getattr(method, one.name) for one in dataclasses.fields(method)}  # pyright: ignore[reportArgumentType]
        return {
            name: value
            for name, value in values.items()
            if name not in ("rho", "m") and isinstance(value, (bool, int, float, str))
        }


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


def method_named(name: str) -> NamedMethod:
    """The method with a name, which may set hyperparameters: ``gsam:alpha=0.4``, ``looksam:k=10,alpha=0.5``.

    Raises:
        ValueError: if there is no such method or hyperparameter, or it cannot have this value.
    """
    return _named(name)[1]


def canonical_name(name: str) -> str:
    """The name with the hyperparameters that are not defaults, in the method's own order and numbers in short.

    Raises:
        ValueError: as ``method_named``.
    """
    return _named(name)[0]


@functools.cache
def _named(name: str) -> tuple[str, NamedMethod]:
    base, colon, assigned = name.partition(":")
    if base not in METHODS:
        raise ValueError(f"there is no method {base!r}; there are {', '.join(METHODS)}")
    plain = METHODS[base]
    if not colon:
        return base, plain
    known = plain.hyperparameters
    if not known:
        raise ValueError(f"{base} has no hyperparameters; leave out what follows the colon")
    given: dict[str, Any] = {}
    for setting in assigned.split(","):
        key, equals, value = setting.partition("=")
        if key == "rho":
            raise ValueError(f"the radius of {base} is not set in its name, but by rhos or radii")
        names = ", ".join(f"{one}={known[one]}" for one in known)
        if not equals or key in given:
            raise ValueError(f"{setting!r} after the colon: give hyperparameters of {base} once each, as in {names}")
        if key not in known:
            raise ValueError(f"{base} has no hyperparameter {key!r}; it has {names}")
        given[key] = _value(key, value, type(known[key]))
    given = {key: given[key] for key in known if key in given and given[key] != known[key]}
    if not given:
        return base, plain

    def with_radius(rho: Any) -> Method:
        return dataclasses.replace(plain.with_radius(rho), **given)  # pyright: ignore[reportArgumentType]

    with_radius(0.0)  # checks the values
    shown = {key: f"{value:.12g}" if isinstance(value, float) else str(value).lower() for key, value in given.items()}
    title, words = plain.title, dict(shown)
    if base == "sam-every-5" and "k" in words:
        title = f"SAM every {words.pop('k')}"
    if words:
        settings = (f"{key} {value}".replace("_", " ") for key, value in words.items())
        title += f" ({', '.join(settings)})"
    canonical = f"{base}:{','.join(f'{key}={value}' for key, value in shown.items())}"
    return canonical, NamedMethod(title, plain.summary, with_radius)


def _value(key: str, text: str, kind: type) -> bool | int | float | str:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{key} must be true or false, got {text!r}")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"{key} must be {'a whole number' if kind is int else 'a number'}, got {text!r}") from error
