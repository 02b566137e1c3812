"""Builds the description that a results folder keeps, from a spec and its workload."""

import math
from collections.abc import Iterable, Mapping, Sequence

from widebasin.axis import Axis
from widebasin.parametrization import STANDARD
from widebasin.sam import method_named
from widebasin.statistics import BASELINE
from widebasin.sweep.axes import COMPARED, own_of
from widebasin.sweep.description import AxisFacts, Description, MethodFacts, Published
from widebasin.sweep.spec import Resolved
from widebasin.training import OPTIMIZERS
from widebasin.workloads import WORKLOADS, Workload

PAPER = "arXiv 2311.17539"


def description_of(spec: Resolved, references: Mapping[str, float] | None = None) -> Description:
    """What a report needs to know about a sweep besides its tables and its spec.

    Args:
        spec: of the sweep.
        references: what simple models reach, if it is known already.
    """
    workload = WORKLOADS[spec.workload]
    return Description(
        title=workload.description,
        model=workload.model,
        data=workload.data_record()["name"],
        metrics=workload.metrics,
        methods={
            name: MethodFacts(
                OPTIMIZERS[spec.optimizer].title if name == BASELINE else method_named(name).title,
                float(method_named(name).with_radius(0.0).gradients_per_step),
            )
            for name in spec.methods
        },
        axes=_facts(axis for axis in spec.axes if axis.name not in COMPARED and axis not in spec.tuned),
        tuned=_facts(spec.tuned),
        recipe=tuple(fact for fact in _recipe(spec, workload) if fact),
        published=_published(workload),
        streamed=workload.streamed,
        chance=workload.chance,
        references=dict(references or _references(workload)),
    )


def _references(workload: Workload) -> dict[str, float]:
    """What simple models reach, where that is a number: a metric may not be defined on a test set."""
    return {name: value for name, value in workload.references().items() if not math.isnan(value)}


def _facts(axes: Iterable[Axis]) -> tuple[AxisFacts, ...]:
    return tuple(AxisFacts(axis.name, axis.phrase, axis.percent) for axis in axes)


def _recipe(spec: Resolved, workload: Workload) -> tuple[str, ...]:
    """How the networks of a spec are trained, in parts of a sentence; parts that do not apply are empty."""
    noise = [f"{100 * rate:g}%" for rate in spec.label_noise]
    last = spec.first_seed + spec.seeds - 1
    return (
        f"{spec.train_examples:,} training examples" if spec.train_examples != workload.train_examples else "",
        f"{_and(noise)} wrong training labels ({spec.label_noise_kind})" if any(spec.label_noise) else "",
        f"{spec.epochs} epoch{'s' * (spec.epochs != 1)}"
        if spec.budget == "epochs"
        else f"as many gradients for every method as SAM takes in {spec.epochs} epochs",
        f"batch {spec.batch_size}",
        OPTIMIZERS[spec.optimizer].title,
        f"learning rate {_numbers(spec.learning_rate)} ({spec.schedule})",
        f"warmup over {spec.warmup_steps:,} steps, a tenth of all at most" if spec.warmup_steps else "",
        f"momentum {spec.momentum:g}" if OPTIMIZERS[spec.optimizer].has_momentum else "",
        f"gradients clipped to norm {spec.clip:g}" if spec.clip else "",
        f"weight decay {_numbers(spec.weight_decay)}",
        ""
        if spec.base_width is None
        else f"{_and(spec.parametrization)} parametrization, base width {spec.base_width}",
        *(
            axis.phrase.replace("{}", _and([f"{100 * v:g}%" if axis.percent else str(v) for v in spec.values(axis)]))
            for axis in own_of(spec.axes)
        ),
        f"{_and([axis.name.replace('_', ' ') for axis in spec.tuned])} chosen with the radius for every width and "
        f"method, from up to {spec.trials} trials"
        if spec.tuned
        else "",
        f"{spec.m} examples per ascent" if spec.m else "",
        f"in {spec.precision}" if spec.precision != "float32" else "",
        f"seeds {spec.first_seed} to {last}" if spec.seeds > 1 else f"seed {last}",
    )


def _published(workload: Workload) -> Published | None:
    """The gains in the paper's figure, and the setting they hold for: the workload's own, for any number of epochs."""
    if not workload.published:
        return None
    return Published(
        dict(workload.published),
        PAPER,
        {
            "label_noise": [workload.label_noise],
            "weight_decay": [workload.recipe.weight_decay],
            "learning_rate": [workload.recipe.learning_rate],
            "sparsity": [0.0],
            "parametrization": [STANDARD],
            "centered": False,
            "method": ["sam"],
            "optimizer": workload.recipe.optimizer,
            "schedule": workload.recipe.schedule,
            "batch_size": workload.recipe.batch_size,
            "m": None,
            "budget": "epochs",
        },
    )


def _numbers(values: Sequence[float]) -> str:
    return _and([f"{value:g}" for value in values])


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
