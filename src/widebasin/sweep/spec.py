"""The spec of a sweep: what a user asks for, and the same with all values filled in from the workload."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from widebasin.axis import Axis
from widebasin.statistics.design import BASELINE
from widebasin.sweep.axes import AXES, own_of, with_own
from widebasin.sweep.errors import UsageError, nearest_name
from widebasin.sweep.trials import (
    check_tuned,
    checked_radii,
    own_radii,
    refined,
    refined_axis,
    tuned_axes,
    values_to_tune,
)

if TYPE_CHECKING:
    from widebasin.workloads import Workload

BUDGETS = ("epochs", "gradients")
PRESETS = ("paper", "quick")
PRUNE = ("all", "largest")
# Fields of a spec that are those of the workload's recipe, where they are left out.
RECIPE = ("epochs", "batch_size", "optimizer", "schedule", "warmup_steps", "momentum", "clip", "precision")
NO_CLIPPING = 0.0


def hint(words: str) -> Callable[[str], str]:
    """The hint about a flag's default: these words, unless a study sets its own default."""
    return lambda default: f"(default: {words if default == 'None' else default})"


OneInt = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=hint("the workload's"))]
OneFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=hint("the workload's"))]
OneName = Annotated[str | None, tyro.conf.arg(metavar="STR", help_behavior_hint=hint("the workload's"))]


def _several(axis: Axis) -> tuple[str, Any, Any]:
    """The field of a spec for an axis."""
    name = axis.kind.__name__.upper()
    kind = axis.kind if axis.counted else tuple[axis.kind, ...]
    metavar = name if axis.counted else f"{name} [{name} ...]"
    shown = tyro.conf.arg(metavar=metavar, help=axis.help, help_behavior_hint=hint(axis.words))
    return axis.flag, Annotated[kind | None, shown], None


def _resolved(axis: Axis) -> tuple[str, Any]:
    """The field of a resolved spec for an axis."""
    return axis.flag, axis.kind if axis.counted else tuple[axis.kind, ...]


def fields_of(fields: Iterable[Any], **options: Any) -> Any:
    """A base class with the fields of a table; type checkers accept any of its fields."""
    return dataclasses.make_dataclass("Axes", fields, frozen=True, **options)


# The fields of a base class come before those of the classes that name it further left.


@dataclass(frozen=True)
class Named:
    """The workload."""

    workload: str = "digits-mlp"
    """Name of the workload, which defines data, model and recipe, or your own file: .npz, .csv, .parquet or .py."""


@dataclass(frozen=True)
class Shared:
    """The settings that all networks of a sweep share."""

    label_noise_kind: str = "symmetric"
    """Wrong labels: symmetric (any other class) or asymmetric (the next class)."""
    epochs: OneInt = None
    """Passes over the training set."""
    batch_size: OneInt = None
    """Examples per step."""
    optimizer: OneName = None
    """Base optimizer, used with the gradient of every method (widebasin list optimizers)."""
    schedule: OneName = None
    """Learning-rate schedule, by name, such as step, cosine, inverse or constant."""
    warmup_steps: OneInt = None
    """Steps over which the learning rate rises from 0, at most a tenth of all steps."""
    momentum: OneFloat = None
    """Momentum of sgd and nesterov, in [0, 1); other optimizers have their own settings."""
    clip: OneFloat = None
    """Clip gradients to this norm; 0 does not clip."""
    precision: OneName = None
    """Precision of computations: float32, bfloat16 (parameters stay in float32) or float64."""
    train_examples: OneInt = None
    """Number of training examples; the rest of the training set is not used."""
    m: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the whole batch)")] = None
    """Examples per ascent (m-sharpness), and per batch normalization in it; must divide the batch size."""
    base_width: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=hint("the smallest of the widths"))
    ] = None
    """Width at which all parametrizations are the same; learning rate and radius are those of this width."""


@dataclass(frozen=True)
class Spec(Shared, fields_of(map(_several, AXES)), Named):
    """The grid: every combination is trained. Values left out come from the workload (widebasin list workloads)."""

    axes: ClassVar[tuple[Axis, ...]] = AXES

    first_seed: int = 0
    """The seeds are first_seed, first_seed + 1, ..."""
    radii: Annotated[
        tuple[str, ...] | None, tyro.conf.arg(metavar="METHOD=RHO[,RHO...] [...]", help_behavior_hint=hint("rhos"))
    ] = None
    """Radii of single methods instead of rhos, such as asam=0.5,1,2."""
    tune: Annotated[
        tuple[str, ...] | None, tyro.conf.arg(metavar="SETTING [SETTING ...]", help_behavior_hint=hint("none"))
    ] = None
    """Settings chosen on validation with the radius, for every width and method: learning_rate, weight_decay or the
    workload's own. Their values are tried with every radius; the baseline tries further values in between, so that it
    has as many trials as the method that has most."""
    prune: str = "all"
    """Widths to prune: all (default sparsity 0), or largest (by default to the sizes of the others, left dense)."""
    budget: str = "epochs"
    """What is equal for all methods: epochs, or gradients (epochs are then SAM's, and SGD trains twice as many)."""
    preset: Annotated[
        str, tyro.conf.arg(metavar="{paper,quick}", help_behavior_hint="(default: paper, the workload as it is)")
    ] = "paper"
    """quick is for a few CPU cores: fewer widths, epochs and examples. Other flags override it."""
    study: Annotated[str, tyro.conf.Suppress] = ""
    """The study that the sweep belongs to; empty if none."""


@dataclass(frozen=True, kw_only=True)
class Resolved(fields_of(map(_resolved, AXES), kw_only=True)):
    """A spec with every value filled in. It has one field per axis, named by its flag, besides those below.

    Attributes:
        workload: see ``Spec``, as for all fields not explained here.
        centered: whether the initial outputs are subtracted and the result is scaled by ``output_scale``; if not,
            ``output_scale`` is ``(1.0,)``.
        clip: 0 for no clipping.
        radii: radii of single methods, as METHOD=RHO,RHO...
        tune: flags of the axes that are tuned.
        m: ``None`` for the whole batch.
        base_width: ``None`` if the parametrization is the standard one.
    """

    axes: ClassVar[tuple[Axis, ...]] = AXES

    workload: str
    label_noise_kind: str
    epochs: int
    batch_size: int
    optimizer: str
    schedule: str
    warmup_steps: int
    momentum: float
    clip: float
    precision: str
    train_examples: int
    m: int | None
    base_width: int | None
    first_seed: int
    radii: tuple[str, ...]
    tune: tuple[str, ...]
    prune: str
    budget: str
    study: str
    centered: bool

    def values(self, axis: Axis) -> tuple[Any, ...]:
        """The values of an axis; for the seed, all seeds."""
        given = getattr(self, axis.flag)
        return tuple(range(self.first_seed, self.first_seed + given)) if axis.counted else given

    def tried_by(self, method: str, axis: Axis) -> tuple[Any, ...]:
        """The values of an axis that a method's networks have: of a tuned axis, the baseline tries more."""
        values = self.values(axis)
        if axis.name == "rho":
            return self.radii_of(method)
        if method == BASELINE and axis == refined_axis(self.tuned):
            return refined(values, self.most_radii)
        return values

    @property
    def tuned(self) -> tuple[Axis, ...]:
        """The axes that are tuned."""
        return tuple(axis for flag in self.tune for axis in self.axes if axis.flag == flag)

    @property
    def radii_by_method(self) -> dict[str, tuple[float, ...]]:
        """Method -> the radii that it tries; the baseline has none."""
        return {method: self.radii_of(method) for method in self.methods if method != BASELINE}

    @property
    def most_radii(self) -> int:
        """The number of radii of the method that tries most."""
        return max(map(len, self.radii_by_method.values()), default=1)

    @property
    def trials(self) -> int:
        """The number of networks from which one is chosen, for every width, seed and setting, at most."""
        return math.prod(len(self.values(axis)) for axis in self.tuned) * self.most_radii

    def radii_of(self, method: str) -> tuple[float, ...]:
        """The radii that a method tries: its own, those of its name without hyperparameters, or ``rhos``."""
        if method == BASELINE:
            return (0.0,)
        own = own_radii(self.radii)
        return own.get(method) or own.get(method.partition(":")[0]) or self.rhos

    def given(self) -> dict[str, Any]:
        """Field of a spec -> value, as a user would give it; fields that must be left out are missing."""
        left_out = {"centered"} | ({"output_scale"} if not self.centered else set())
        names = [field.name for field in dataclasses.fields(spec_type(own_of(self.axes)))]
        values = {name: getattr(self, name) for name in names if name not in left_out and hasattr(self, name)}
        return {name: value for name, value in values.items() if value not in (None, "", ())}


@functools.cache
def spec_type(own: tuple[Axis, ...]) -> type[Spec]:
    """The type of specs for a workload with its own axes."""
    return _extended(Spec, map(_several, own), own) if own else Spec


@functools.cache
def resolved_type(own: tuple[Axis, ...]) -> type[Resolved]:
    """The type of resolved specs for a workload with its own axes."""
    return _extended(Resolved, map(_resolved, own), own, kw_only=True) if own else Resolved


def _extended(base: Any, fields: Iterable[Any], own: tuple[Axis, ...], **options: Any) -> Any:
    taken = {field.name for field in dataclasses.fields(base)} | {axis.name for axis in AXES} | {*dir(base)}
    for axis in own:
        words = {axis.name, axis.flag}
        if old := sorted(words & taken):
            raise UsageError("axes", axis.name, f"the name and the flag of an axis must be new, and {old[0]} is not")
        taken |= words
    namespace = {"axes": with_own(own), "__doc__": base.__doc__, "__module__": base.__module__}
    return dataclasses.make_dataclass(base.__name__, fields, bases=(base,), namespace=namespace, frozen=True, **options)


def fitted(spec: Spec, own: tuple[Axis, ...]) -> Spec:
    """Converts a spec to the type for a workload with these own axes.

    Raises:
        UsageError: if it has values for an axis of another workload.
    """
    kind = spec_type(own)
    if type(spec) is kind:
        return spec
    values = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    known = {field.name for field in dataclasses.fields(kind)}
    for name in values.keys() - known:
        if values[name] is not None:
            raise UsageError(name, values[name], f"must be left out: {spec.workload} has no such axis")
    return kind(**{name: value for name, value in values.items() if name in known})


def resolve(spec: Spec | Resolved) -> Resolved:
    """Checks a spec and fills in the workload's recipe; a resolved spec stays as it is.

    Raises:
        UsageError: with the argument, the value and the remedy.
        DataError: if the workload is a file of arrays that cannot be read.
    """
    if isinstance(spec, Resolved):
        return spec
    from widebasin.workloads.files import line_of

    workload = workload_named(spec.workload)
    spec = fitted(spec, workload.axes)
    given = _filled(spec, workload)
    given["methods"] = tuple(canonical_method("methods", name) for name in given["methods"])
    for axis in spec.axes:
        _check_axis(axis, given[axis.flag])
    given["radii"] = checked_radii(given["radii"], given["methods"], BASELINE)
    _check_names(given)
    _check_momentum(spec.momentum, given["optimizer"], workload)
    for width in given["widths"]:
        try:
            workload.check_width(width)
        except ValueError as error:
            where = f" ({line})" if (line := line_of(error)) else ""
            raise UsageError("widths", width, f"the model of {workload.name} cannot be used: {error}{where}") from error
    if given["sparsity"] is None:
        matching = workload.matching_sparsities(given["widths"]) if given["prune"] == "largest" else ()
        given["sparsity"] = (0.0, *matching)
    resolved = resolved_type(workload.axes)(**given)
    check_tuned(given, resolved.tuned, resolved.most_radii)
    _check_parametrization(resolved, workload)
    _check_recipe(resolved)
    _check_examples(resolved, workload)
    return resolved


def _filled(spec: Spec, workload: "Workload") -> dict[str, Any]:
    """The fields of a resolved spec; ``sparsity``, if left out, is determined later."""
    from widebasin.workloads import WORKLOADS

    if spec.preset not in PRESETS:
        raise nearest_name("preset", spec.preset, PRESETS)
    if spec.preset == "quick" and not workload.quick:
        quick = ", ".join(name for name, one in WORKLOADS.items() if one.quick)
        raise UsageError("preset", spec.preset, f"must be left out: {workload.name} has no presets; {quick} have")
    defaults: dict[str, Any] = {axis.flag: axis.defaults(workload) for axis in spec.axes}
    defaults |= {axis.flag: axis.defaults(workload)[0] for axis in spec.axes if axis.counted}
    defaults |= {"sparsity": None} | _recipe_of(workload) | {"train_examples": workload.train_examples}
    # A preset leaves no trace: what it fills in says it all.
    defaults |= dict(workload.quick) if spec.preset == "quick" else {}
    values = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec) if field.name != "preset"}
    given: dict[str, Any] = {name: defaults.get(name) if value is None else value for name, value in values.items()}
    given["radii"] = given["radii"] or ()
    tuned = tuned_axes(given["tune"] or (), spec.axes)
    given["tune"] = tuple(axis.flag for axis in tuned)
    given |= {axis.flag: values_to_tune(axis, defaults[axis.flag]) for axis in tuned if values[axis.flag] is None}
    given["base_width"] = _base_width(given)
    # No scale, and none of the workload's: outputs are those of the network itself.
    centered = spec.output_scale is not None or bool(given["output_scale"])
    return given | {"centered": centered, "output_scale": given["output_scale"] if centered else (1.0,)}


def _recipe_of(workload: "Workload") -> dict[str, Any]:
    recipe = {name: getattr(workload.recipe, name) for name in RECIPE}
    return recipe | {"clip": recipe["clip"] or NO_CLIPPING}


def canonical_method(argument: str, name: str) -> str:
    """The name of a method with its hyperparameters in canonical form.

    Raises:
        UsageError: if there is no such method or hyperparameter.
    """
    from widebasin.sam import METHODS, canonical_name

    if (base := name.partition(":")[0]) not in METHODS:
        raise nearest_name(argument, base, METHODS)
    try:
        return canonical_name(name)
    except ValueError as error:
        raise UsageError(argument, name, str(error)) from error


def _check_axis(axis: Axis, values: Any) -> None:
    if axis.flag == "sparsity" and values is None:
        return
    if axis.counted:
        _check(axis.flag, values, axis.wanted, axis.holds(values))
        return
    if not values:
        raise UsageError(axis.flag, values, f"must not be empty; give one or more values, each {axis.wanted}")
    for value in values:
        if axis.name != "method" and axis.names is not None and value not in (known := tuple(axis.names())):
            raise nearest_name(axis.flag, value, known)
        _check(axis.flag, value, axis.wanted, axis.holds(value))
    if len(set(values)) < len(values):
        raise UsageError(axis.flag, values, "must not repeat a value")


def _check_names(given: Mapping[str, Any]) -> None:
    from widebasin.data import LABEL_NOISE_KINDS
    from widebasin.training import OPTIMIZERS, PRECISIONS, SCHEDULES

    for argument, known in (
        ("label_noise_kind", LABEL_NOISE_KINDS),
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
        ("precision", PRECISIONS),
        ("prune", PRUNE),
        ("budget", BUDGETS),
    ):
        if given[argument] not in known:
            raise nearest_name(argument, str(given[argument]), known)


def _check_momentum(momentum: float | None, optimizer: str, workload: "Workload") -> None:
    """Checks that a momentum that is asked for is used; the recipe's own is there for every optimizer."""
    from widebasin.training import OPTIMIZERS

    if momentum in (None, workload.recipe.momentum) or OPTIMIZERS[optimizer].has_momentum:
        return
    users = " and ".join(name for name, one in OPTIMIZERS.items() if one.has_momentum)
    raise UsageError("momentum", momentum, f"must be left out with --optimizer {optimizer}: only {users} use it")


def _base_width(given: Mapping[str, Any]) -> int | None:
    """The base width where a parametrization has one."""
    from widebasin.parametrization import PARAMETRIZATIONS, STANDARD

    base, widths = given["base_width"], given["widths"]
    if not set(given["parametrization"]) <= set(PARAMETRIZATIONS):
        return base  # refused with its own name
    if all(name == STANDARD for name in given["parametrization"]):
        if base is not None:
            raise UsageError("base_width", base, "needs --parametrization mup or mup2: the standard one has none")
        return None
    if base is None and len(widths) == 1:
        remedy = "must be given for a single width: the width at which learning rate and radius were found"
        raise UsageError("base_width", base, remedy)
    base = min(widths, default=None) if base is None else base
    _check("base_width", base, "a whole number of at least 1", base is None or base >= 1)
    return base


def _check_parametrization(spec: Resolved, workload: "Workload") -> None:
    """Checks that every layer of every width has a rule in the parametrizations of a spec."""
    from widebasin.parametrization import MUP2, STANDARD
    from widebasin.sam import RandomPerturbation, method_named
    from widebasin.training import OPTIMIZERS
    from widebasin.workloads import PARAMETRIZATION, Settings

    others = tuple(name for name in spec.parametrization if name != STANDARD)
    if not others:
        return
    _check("parametrization", others, f"standard for {workload.name}, which trains agents", workload.has_layers)
    if OPTIMIZERS[spec.optimizer].layered is None:
        known = ", ".join(name for name, one in OPTIMIZERS.items() if one.layered)
        raise UsageError("optimizer", spec.optimizer, f"must be one of {known} with --parametrization {others[0]}")
    if spec.optimizer == "adam" and any(spec.weight_decay):
        remedy = "must be adamw, or the weight decay 0: no rule keeps decay inside Adam the same at all widths"
        raise UsageError("optimizer", spec.optimizer, remedy)
    methods = {name: method_named(name).with_radius(0.0) for name in spec.methods}
    random = [name for name, method in methods.items() if isinstance(method, RandomPerturbation)]
    if MUP2 in others and random:
        raise UsageError("methods", random[0], f"has no rule in --parametrization {MUP2}, which scales gradients")
    splitting = [axis for axis in own_of(spec.axes) if not axis.traced]
    for width, *values in itertools.product(spec.widths, *map(spec.values, splitting)):
        own = tuple((axis.name, value) for axis, value in zip(splitting, values, strict=True))
        settings = Settings(own=((PARAMETRIZATION, others[0]), *own), base_width=spec.base_width)
        try:
            workload.multipliers(width, settings)
        except ValueError as error:
            remedy = f"cannot be the base of width {width} of {workload.name}: {error}"
            raise UsageError("base_width", spec.base_width, remedy) from error


def _check_recipe(spec: Resolved) -> None:
    for argument, wanted, holds in (
        ("first_seed", "at least 0 and below 2**32 - seeds", 0 <= spec.first_seed < 2**32 - spec.seeds),
        ("epochs", "at least 1, and fewer than 2**31 steps in all", 1 <= spec.epochs < 2**31 // _steps(spec)),
        ("warmup_steps", "at least 0", spec.warmup_steps >= 0),
        ("momentum", "in [0, 1)", 0 <= spec.momentum < 1),
        ("clip", "a finite number > 0, or 0 for none", math.isfinite(spec.clip) and spec.clip >= 0),
        ("batch_size", "at least 1", spec.batch_size >= 1),
    ):
        _check(argument, getattr(spec, argument), wanted, holds)


def _steps(spec: Resolved) -> int:
    """Steps of an epoch, at least one."""
    return max(1, spec.train_examples // max(1, spec.batch_size))


def _check_examples(spec: Resolved, workload: "Workload") -> None:
    """Checks that a spec and its data agree."""
    for argument, wanted in workload.refusals(spec):
        _check(argument, getattr(spec, argument), wanted, False)
    have = workload.train_examples
    wanted = f"between 1 and {have}, which {workload.name} has"
    _check("train_examples", spec.train_examples, wanted, 1 <= spec.train_examples <= have)
    wanted = f"at most {spec.train_examples}, the number of training examples of {workload.name}"
    _check("batch_size", spec.batch_size, wanted, spec.batch_size <= spec.train_examples)
    divides = spec.m is None or (spec.m >= 1 and spec.batch_size % spec.m == 0)
    _check("m", spec.m, f"a divisor of the batch size {spec.batch_size}", divides)
    if spec.centered:
        wanted = f"left out for {workload.name}: agents and models with batch normalization cannot be centered"
        _check("output_scale", spec.output_scale, wanted, all(map(workload.can_be_centered, spec.widths)))
    if any(spec.label_noise):
        wanted = f"0 for {workload.name}, which has no classes"
        _check("label_noise", spec.label_noise, wanted, workload.has_classes)


def workload_named(name: str) -> "Workload":
    """The workload with this name, or for a file with the user's own arrays.

    Raises:
        UsageError: if there is none, or the arrays do not fit the model.
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


# One network ---------------------------------------------------------------------------------------------------------


def single_field(axis: Axis) -> tuple[str, Any, Any]:
    """The field of ``widebasin train`` for an axis: one value."""
    if axis.single is not None:
        words = str(axis.single)
    elif callable(axis.default):
        words = "the workload's, or the middle one of several"
    else:
        words = str(axis.single_value(None))
    shown = tyro.conf.arg(
        metavar=axis.kind.__name__.upper(), help=axis.single_help or axis.help, help_behavior_hint=hint(words)
    )
    return axis.name, Annotated[axis.kind | None, shown], None


def single_spec(workload: "Workload", shared: Mapping[str, Any], given: Mapping[str, Any]) -> Spec:
    """The spec of one network.

    Args:
        workload: its workload.
        shared: fields of ``Shared``.
        given: name of an axis -> value; ``None`` is the axis's default for a single network.
    """
    kind = spec_type(workload.axes)
    values = {}
    for axis in kind.axes:
        value = given.get(axis.name)
        value = axis.single_value(workload) if value is None else value
        if axis.counted:
            values |= {axis.flag: 1, f"first_{axis.name}": value}
        else:
            values[axis.flag] = None if value is None else (value,)
    return kind(workload=workload.name, **shared, **values)
