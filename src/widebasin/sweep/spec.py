"""The spec of a sweep: what a user asks for, from flags or a TOML file."""

import dataclasses
import math
import re
import tomllib
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tomli_w
import tyro

from widebasin.sweep.errors import UsageError, nearest_name

FORMAT = 1
BUDGETS = ("epochs", "gradients")


def _workloads(default: str) -> str:
    """The hint of a flag whose default is the workload's, unless a study has its own."""
    return "(default: the workload's)" if default == "None" else f"(default: {default})"


Ints = Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="INT [INT ...]", help_behavior_hint=_workloads)]
Floats = Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="FLOAT [FLOAT ...]", help_behavior_hint=_workloads)]
OneInt = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=_workloads)]
OneFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=_workloads)]
OneName = Annotated[str | None, tyro.conf.arg(metavar="STR", help_behavior_hint=_workloads)]


@dataclass(frozen=True)
class Spec:
    """The grid: every combination is trained. What is left out comes from the workload (widebasin list workloads)."""

    workload: str = "digits-mlp"
    """Data, model and recipe, by name."""
    widths: Ints = None
    """Widths of the model."""
    methods: tuple[str, ...] = ("sgd", "sam")
    """Methods to compare; sgd is the baseline."""
    rhos: Floats = None
    """Radii of the ascent, for every method but sgd, which has none."""
    seeds: int = 5
    """Number of seeds: networks of one seed share split, initialization, batch order and noisy labels."""
    first_seed: int = 0
    """The seeds are first_seed, first_seed + 1, ..."""
    label_noise: Floats = None
    """Shares of wrong training labels, in [0, 1)."""
    label_noise_kind: str = "symmetric"
    """symmetric (any other class) or asymmetric (the next class)."""
    weight_decay: Floats = None
    """Weight decay coefficients."""
    learning_rate: Floats = None
    """Learning rates at the start of the schedule."""
    epochs: OneInt = None
    """Passes over the training set."""
    batch_size: OneInt = None
    """Examples per step."""
    schedule: OneName = None
    """Learning-rate schedule: step, cosine or constant."""
    momentum: OneFloat = None
    """Heavy-ball momentum, in [0, 1)."""
    m: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the whole batch)")] = None
    """Examples per ascent (m-sharpness); must divide the batch."""
    budget: str = "epochs"
    """What all methods get alike: epochs, or gradients (the epochs are then SAM's, and SGD trains twice as many)."""
    study: Annotated[str, tyro.conf.Suppress] = ""
    """The study that the sweep belongs to; empty for a sweep of its own."""


def resolve(spec: Spec) -> Spec:
    """Checks a spec and fills in the workload's recipe: every field of the result has its value.

    Raises:
        UsageError: naming the argument, the value and the remedy.
    """
    from widebasin.data import LABEL_NOISE_KINDS
    from widebasin.sam import METHODS
    from widebasin.training import SCHEDULES
    from widebasin.workloads import WORKLOADS

    if spec.workload not in WORKLOADS:
        raise nearest_name("workload", spec.workload, WORKLOADS)
    workload = WORKLOADS[spec.workload]
    recipe = workload.recipe
    defaults = {
        "widths": workload.widths,
        "rhos": workload.rhos,
        "label_noise": (workload.label_noise,),
        "weight_decay": (recipe.weight_decay,),
        "learning_rate": (recipe.learning_rate,),
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "schedule": recipe.schedule,
        "momentum": recipe.momentum,
    }
    spec = dataclasses.replace(spec, **{k: v for k, v in defaults.items() if getattr(spec, k) is None})

    for method in spec.methods:
        if method not in METHODS:
            raise nearest_name("methods", method, METHODS)
    for argument, value, known in (
        ("label_noise_kind", spec.label_noise_kind, LABEL_NOISE_KINDS),
        ("schedule", spec.schedule, SCHEDULES),
        ("budget", spec.budget, BUDGETS),
    ):
        if value not in known:
            raise nearest_name(argument, str(value), known)
    _check_list("widths", spec.widths, "a whole number of at least 1", lambda w: w >= 1)
    _check_list("methods", spec.methods, "a name", bool)
    _check_list("rhos", spec.rhos, "a finite number >= 0", lambda r: math.isfinite(r) and r >= 0)
    _check_list("label_noise", spec.label_noise, "a share in [0, 1), such as 0.3 for 30%", lambda r: 0 <= r < 1)
    _check_list("weight_decay", spec.weight_decay, "a finite number >= 0", lambda r: math.isfinite(r) and r >= 0)
    _check_list("learning_rate", spec.learning_rate, "a finite number > 0", lambda r: math.isfinite(r) and r > 0)
    _check("seeds", spec.seeds, "at least 1", spec.seeds >= 1)
    _check(
        "first_seed",
        spec.first_seed,
        "at least 0 and below 2**32 - seeds",
        0 <= spec.first_seed < 2**32 - spec.seeds,
    )
    _check("epochs", spec.epochs, "at least 1", spec.epochs is not None and spec.epochs >= 1)
    _check("momentum", spec.momentum, "in [0, 1)", spec.momentum is not None and 0 <= spec.momentum < 1)
    assert spec.batch_size is not None
    _check("batch_size", spec.batch_size, "at least 1", spec.batch_size >= 1)
    _check(
        "batch_size",
        spec.batch_size,
        f"at most {workload.sizes.train}, the number of training examples of {workload.name}",
        spec.batch_size <= workload.sizes.train,
    )
    _check(
        "m",
        spec.m,
        f"a divisor of the batch size {spec.batch_size}",
        spec.m is None or (spec.m >= 1 and spec.batch_size % spec.m == 0),
    )
    assert spec.label_noise is not None
    _check(
        "label_noise",
        spec.label_noise,
        f"0 for {workload.name}, which has no classes",
        not any(spec.label_noise) or workload.load().num_classes is not None,
    )
    return spec


def _check(argument: str, value: Any, wanted: str, holds: bool) -> None:
    if not holds:
        raise UsageError(argument, value, f"must be {wanted}")


def _check_list(argument: str, values: Sequence[Any] | None, wanted: str, holds: Callable[[Any], bool]) -> None:
    if not values:
        raise UsageError(argument, values, f"must not be empty; give one or more values, each {wanted}")
    for value in values:
        _check(argument, value, wanted, holds(value))
    if len(set(values)) < len(values):
        raise UsageError(argument, values, "must not repeat a value")


def read_spec(path: Path) -> Spec:
    """Reads a spec from a TOML file whose keys are the fields of ``Spec``.

    Raises:
        UsageError: if the file cannot be read, is no TOML, has an unknown key or a value of the wrong type.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("spec file", str(path), f"cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError("spec file", str(path), f"is not valid TOML: {error}") from error
    version = table.pop("format", FORMAT)
    if version != FORMAT:
        raise UsageError("format", version, f"this version of widebasin reads format {FORMAT} ({path})")
    types = typing.get_type_hints(Spec)
    values = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in types:
            raise nearest_name(f"key in {path}", key, types)
        values[name] = _typed(name, value, types[name])
    return Spec(**values)


def _typed(key: str, value: Any, annotation: Any) -> Any:
    """A TOML value as the type of a field: a bare value stands for a list of one, a whole number for a float."""
    annotation = next((t for t in typing.get_args(annotation) if typing.get_origin(t) is tuple), annotation)
    several = typing.get_origin(annotation) is tuple
    kind = next(t for t in (int, float, str) if t is annotation or t in typing.get_args(annotation))
    items = value if isinstance(value, list) else [value]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, (int, float) if kind is float else kind):
            raise UsageError(key, value, f"must be {'a list of ' if several else ''}{kind.__name__}")
    if not several and isinstance(value, list):
        raise UsageError(key, value, f"must be one {kind.__name__}, not a list")
    typed = tuple(kind(item) for item in items)
    return typed if several else typed[0]


def spec_toml(spec: Spec) -> str:
    """A resolved spec as TOML; ``read_spec`` reads it back."""
    table = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(spec).items()}
    text = tomli_w.dumps({"format": FORMAT} | {k: v for k, v in table.items() if v is not None and v != ""})
    return re.sub(r"\[\n(.*?)\n\]", lambda array: f"[{' '.join(array[1].split()).rstrip(',')}]", text, flags=re.DOTALL)


def differences(one: Spec, other: Spec) -> list[str]:
    """Where two specs differ, in words."""

    def words(spec: Spec, name: str) -> str:
        value = getattr(spec, name)
        return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return [
        f"{field.name}: {words(one, field.name)} there, {words(other, field.name)} here"
        for field in dataclasses.fields(Spec)
        if getattr(one, field.name) != getattr(other, field.name)
    ]
