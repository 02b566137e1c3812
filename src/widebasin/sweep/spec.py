"""The spec of a sweep: what a user asks for, from flags or a TOML file."""

import dataclasses
import math
import re
import tomllib
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tomli_w
import tyro

from widebasin.sweep.errors import UsageError, nearest_name

if TYPE_CHECKING:
    from widebasin.workloads import Workload

FORMAT = 1
BUDGETS = ("epochs", "gradients")
PRESETS = ("paper", "quick")
PRUNE = ("all", "largest")
SEEDS = 5


def _workloads(default: str) -> str:
    """The hint of a flag whose default is the workload's, unless a study has its own."""
    return "(default: the workload's)" if default == "None" else f"(default: {default})"


def _seeds(default: str) -> str:
    """The hint of the number of seeds."""
    return f"(default: {SEEDS if default == 'None' else default})"


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
    seeds: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=_seeds)] = None
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
    sparsity: Annotated[
        tuple[float, ...] | None, tyro.conf.arg(metavar="FLOAT [FLOAT ...]", help_behavior_hint="(default: see prune)")
    ] = None
    """Shares of the kernels' entries that are pruned at initialization, in [0, 1); 0 prunes nothing."""
    prune: str = "all"
    """Which widths: all (by default to sparsity 0), or largest (by default to the sizes of the others, left dense)."""
    pruners: tuple[str, ...] = ("random",)
    """How they are chosen: random (in every layer) or snip (over all layers, by |w dL/dw|)."""
    output_scale: Annotated[
        tuple[float, ...] | None, tyro.conf.arg(metavar="FLOAT [FLOAT ...]", help_behavior_hint=_workloads)
    ] = None
    """Scales alpha of the lazy regime, in which alpha (f(w) - f(w0)) is trained with the loss over alpha squared."""
    epochs: OneInt = None
    """Passes over the training set."""
    batch_size: OneInt = None
    """Examples per step."""
    schedule: OneName = None
    """Learning-rate schedule: step, cosine, inverse or constant."""
    momentum: OneFloat = None
    """Heavy-ball momentum, in [0, 1)."""
    precision: OneName = None
    """Of computations: float32, bfloat16 (parameters stay in float32) or float64."""
    train_examples: OneInt = None
    """Training examples; the others of the data set sit out."""
    m: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the whole batch)")] = None
    """Examples per ascent (m-sharpness), and per batch normalization in it; must divide the batch."""
    budget: str = "epochs"
    """What all methods get alike: epochs, or gradients (the epochs are then SAM's, and SGD trains twice as many)."""
    preset: Annotated[
        str, tyro.conf.arg(metavar="{paper,quick}", help_behavior_hint="(default: paper, the workload as it is)")
    ] = "paper"
    """quick is for a few CPU cores: fewer widths, epochs, examples. Any flag given besides wins."""
    study: Annotated[str, tyro.conf.Suppress] = ""
    """The study that the sweep belongs to; empty for a sweep of its own."""


def resolve(spec: Spec) -> Spec:
    """Checks a spec and fills in the workload's recipe: every field of the result has its value.

    Raises:
        UsageError: naming the argument, the value and the remedy.
        DataError: if the workload is a file of arrays that cannot be read.
    """
    from widebasin.data import LABEL_NOISE_KINDS
    from widebasin.sam import METHODS
    from widebasin.training import PRECISIONS, PRUNERS, SCHEDULES
    from widebasin.workloads import WORKLOADS

    workload = workload_named(spec.workload)
    recipe = workload.recipe
    if spec.preset not in PRESETS:
        raise nearest_name("preset", spec.preset, PRESETS)
    if spec.preset == "quick" and not workload.quick:
        quick = ", ".join(name for name, one in WORKLOADS.items() if one.quick)
        raise UsageError("preset", spec.preset, f"must be left out for {workload.name}, which has none; {quick} have")
    defaults = {
        "widths": workload.widths,
        "seeds": SEEDS,
        "rhos": workload.rhos,
        "label_noise": (workload.label_noise,),
        "weight_decay": (recipe.weight_decay,),
        "learning_rate": (recipe.learning_rate,),
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "schedule": recipe.schedule,
        "momentum": recipe.momentum,
        "precision": recipe.precision,
        "train_examples": workload.sizes.train,
        "output_scale": workload.output_scales or None,
    } | (dict(workload.quick) if spec.preset == "quick" else {})
    # A preset leaves no trace: what it fills in says it all.
    spec = dataclasses.replace(spec, preset="paper", **{k: v for k, v in defaults.items() if getattr(spec, k) is None})

    for method in spec.methods:
        if method not in METHODS:
            raise nearest_name("methods", method, METHODS)
    for argument, value, known in (
        ("label_noise_kind", spec.label_noise_kind, LABEL_NOISE_KINDS),
        ("schedule", spec.schedule, SCHEDULES),
        ("precision", spec.precision, PRECISIONS),
        ("prune", spec.prune, PRUNE),
        ("budget", spec.budget, BUDGETS),
    ):
        if value not in known:
            raise nearest_name(argument, str(value), known)
    _check_list("widths", spec.widths, "a whole number of at least 1", lambda w: w >= 1)
    assert spec.widths is not None
    for width in spec.widths:
        try:
            workload.network(width)
        except ValueError as error:
            raise UsageError("widths", width, f"{workload.name} has no model of this width: {error}") from error
    if spec.sparsity is None:
        matching = workload.matching_sparsities(spec.widths) if spec.prune == "largest" else ()
        spec = dataclasses.replace(spec, sparsity=(0.0, *matching))
    _check_list("methods", spec.methods, "a name", bool)
    _check_list("rhos", spec.rhos, "a finite number >= 0", lambda r: math.isfinite(r) and r >= 0)
    _check_list("label_noise", spec.label_noise, "a share in [0, 1), such as 0.3 for 30%", lambda r: 0 <= r < 1)
    _check_list("weight_decay", spec.weight_decay, "a finite number >= 0", lambda r: math.isfinite(r) and r >= 0)
    _check_list("learning_rate", spec.learning_rate, "a finite number > 0", lambda r: math.isfinite(r) and r > 0)
    _check_list("sparsity", spec.sparsity, "a share in [0, 1), such as 0.75 for 75%", lambda r: 0 <= r < 1)
    _check_list("pruners", spec.pruners, "random or snip", lambda name: name in PRUNERS)
    if spec.output_scale is not None:
        wanted = "a finite number > 0"
        _check_list("output_scale", spec.output_scale, wanted, lambda r: math.isfinite(r) and r > 0)
        _check(
            "output_scale",
            spec.output_scale,
            f"left out for {workload.name}, whose batch normalization has no lazy regime",
            not any(workload.network(width).stateful for width in spec.widths or ()),
        )
    assert spec.seeds is not None
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
    assert spec.train_examples is not None
    _check(
        "train_examples",
        spec.train_examples,
        f"between 1 and {workload.sizes.train}, which {workload.name} has",
        1 <= spec.train_examples <= workload.sizes.train,
    )
    _check(
        "batch_size",
        spec.batch_size,
        f"at most {spec.train_examples}, the number of training examples of {workload.name}",
        spec.batch_size <= spec.train_examples,
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


def workload_named(name: str) -> "Workload":
    """The workload of a name, or of a file of the user's own arrays.

    Raises:
        UsageError: if there is none, or the arrays do not suit the model.
        DataError: if the file cannot be read.
    """
    from widebasin.workloads import WORKLOADS

    if name not in WORKLOADS:
        raise nearest_name("workload", name, WORKLOADS)
    try:
        return WORKLOADS[name]
    except ValueError as error:
        raise UsageError("workload", name, str(error)) from error


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
