"""Which learning rate and radius to use for a large network, from a sweep over small ones in muP^2."""

import dataclasses
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from widebasin.parametrization import MUP2
from widebasin.report.tables import Table
from widebasin.statistics import BASELINE
from widebasin.statistics.chance import beyond_chance
from widebasin.statistics.transfer import optima
from widebasin.studies.answering import Answered
from widebasin.studies.study import Options
from widebasin.sweep import Resolved, Spec, UsageError, resolve, workload_named
from widebasin.sweep.axes import COMPARED
from widebasin.sweep.cells import epochs_of, file_name
from widebasin.sweep.spec import Shared
from widebasin.workloads import PARAMETRIZATION, WORKLOADS, Settings

# Axes whose value is chosen, or that of the large network.
CHOSEN = (*COMPARED, "learning_rate", PARAMETRIZATION)
# Learning rates to try, in units of the workload's own.
AROUND = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Recommendation:
    """What was best for a method at the largest width of a sweep.

    Attributes:
        method: its name.
        learning_rate: at the base width, as all learning rates of a spec are.
        rho: radius, likewise; 0 for the baseline.
        width: where it was best.
        edges: which of the two is at an end of the values tried, in words; empty if none.
    """

    method: str
    learning_rate: float
    rho: float
    width: int
    edges: str = ""


def to_tune(spec: Spec, target: int) -> Spec:
    """The spec of ``widebasin tune``: two widths in the middle of the workload's ladder, learning rates around its own.

    Args:
        spec: what was given; values left out are filled in.
        target: the width to find learning rate and radius for.

    Raises:
        UsageError: if there is no network of the target width, or it is not wider than those to tune on.
    """
    workload = workload_named(spec.workload)
    smaller = tuple(width for width in sorted(workload.widths) if width < target)
    middle = min(len(workload.widths) // 2, len(smaller) - 1)
    widths = spec.widths or smaller[max(middle - 1, 0) : middle + 1]
    rates = spec.learning_rate or tuple(float(f"{factor * workload.recipe.learning_rate:.3g}") for factor in AROUND)
    if spec.widths and len(widths) < 2:
        raise UsageError("widths", widths, "must be at least two: what is best at one is checked at the other")
    if len(widths) < 2 or max(widths) >= target:
        named = " and ".join(map(str, spec.widths or sorted(workload.widths)[:2]))
        raise UsageError("width", target, f"must be larger than the widths to tune on, at least two, such as {named}")
    if spec.tune:
        raise UsageError("tune", spec.tune, "must be left out: learning rate and radius are tuned; give their values")
    if spec.parametrization not in (None, (MUP2,)):
        remedy = f"must be {MUP2}, whose rules carry both to other widths"
        raise UsageError("parametrization", spec.parametrization, remedy)
    base = min(widths) if spec.base_width is None else spec.base_width
    tuned = dataclasses.replace(spec, widths=widths, learning_rate=rates, base_width=base, parametrization=(MUP2,))
    check_target(resolve(tuned), target)
    return tuned


def check_target(spec: Resolved, target: int) -> None:
    """Raises ``UsageError`` if a workload has no network of a width, or none that follows from the base width."""
    workload = WORKLOADS[spec.workload]
    try:
        workload.check_width(target)
        workload.multipliers(target, Settings(own=((PARAMETRIZATION, MUP2),), base_width=spec.base_width))
    except ValueError as error:
        raise UsageError("width", target, f"{workload.name} has no such model: {error}") from error


def recommendations(answered: Answered, options: Options) -> tuple[Recommendation, ...]:
    """The best learning rate and radius of every method at the largest width of the sweep, in muP^2.

    Methods are left out whose networks diverge, or end at chance, at every learning rate and radius.
    """
    results = answered.tables.results
    results = results[results["parametrization"] == MUP2]
    best = optima(results, answered.tables.design, options.select, options.at).table
    best = best[(best["width"] == best["width"].max()) & np.isfinite(best["value"])]
    # A method whose best networks learn nothing has no best learning rate.
    best = beyond_chance(best, results, answered.tables.design, answered.tables.description.chance)
    found = []
    for row in best.to_dict("records"):
        names = {"learning_rate": "learning rate", **({} if row["method"] == BASELINE else {"rho": "radius"})}
        edges = [f"{row[f'{name}_edge']} {words} tried" for name, words in names.items() if row[f"{name}_edge"]]
        chosen = float(row["learning_rate"]), float(row["rho"]), int(row["width"])
        found.append(Recommendation(str(row["method"]), *chosen, ", ".join(edges)))
    return tuple(found)


def recommendation_table(found: tuple[Recommendation, ...], answered: Answered, target: int) -> Table:
    """Learning rate and radius for the target width, method by method."""
    wording = answered.tables.wording
    rows = tuple(
        (
            wording.method(one.method),
            f"{one.learning_rate:g}",
            "—" if one.method == BASELINE else f"{one.rho:g}",
            f"{one.width:,}",
            one.edges or "—",
        )
        for one in found
    )
    note = (
        f"Those of base width {answered.spec.base_width}: --parametrization {MUP2} --base-width "
        f"{answered.spec.base_width} scale them for every layer of the large network."
    )
    columns = ("method", "learning rate", "radius", "best at width", "at an end of those tried")
    return Table(f"To use at width {target:,}", columns, rows, note)


def commands(found: tuple[Recommendation, ...], spec: Resolved, target: int) -> Iterator[str]:
    """The commands that train the large network, method by method."""
    usual = resolve(Spec(workload=spec.workload))
    names = {field.name: field.name for field in dataclasses.fields(Shared)}
    names |= {axis.flag: axis.name for axis in spec.axes if axis.name not in CHOSEN}
    differing = {
        name: getattr(spec, flag) for flag, name in names.items() if getattr(spec, flag) != getattr(usual, flag)
    }
    settings = {name: value[0] if isinstance(value, tuple) else value for name, value in differing.items()}
    for one in found:
        epochs = epochs_of(one.method, spec.epochs, spec.budget)
        flags = {
            "workload": spec.workload,
            "width": target,
            "method": one.method,
            **({} if one.method == BASELINE else {"rho": f"{one.rho:g}"}),
            "learning_rate": f"{one.learning_rate:g}",
            "parametrization": MUP2,
            "out": f"results/tuned-{file_name(spec.workload)}-width-{target}-{file_name(one.method)}-learning-rate-"
            f"{one.learning_rate:g}-{epochs}-epochs",
            **settings,
            **({} if epochs == spec.epochs else {"epochs": epochs}),
        }
        words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        yield shlex.join(["widebasin", "train", *words])
