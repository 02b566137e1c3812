"""How many trials every method has: radii of single methods, and settings that are tuned on validation."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from widebasin.axis import Axis
from widebasin.sweep.axes import AXES, LARGEST
from widebasin.sweep.errors import UsageError, nearest_name

TUNABLE = ("learning_rate", "weight_decay")
# Values of a tuned setting, in units of the workload's own, where none are given.
AROUND = (0.3, 1.0, 3.0)


def own_radii(radii: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Method -> its radii, from entries ``METHOD=RHO,RHO...``.

    Raises:
        ValueError: if a radius is not a number.
    """
    pairs = (entry.rpartition("=") for entry in radii)
    return {method: tuple(map(float, values.split(","))) for method, _, values in pairs}


def entry_of(method: str, radii: Sequence[float]) -> str:
    """The entry of a method: the inverse of ``own_radii``."""
    return f"{method}={','.join(f'{radius:.12g}' for radius in radii)}"


def checked_radii(radii: Sequence[str], methods: Sequence[str], baseline: str) -> tuple[str, ...]:
    """The entries, with radii in ascending order.

    Raises:
        UsageError: if an entry is invalid, or names no method of the sweep.
    """
    known = list(dict.fromkeys(one for method in methods for one in (method, method.partition(":")[0])))
    found: dict[str, str] = {}
    for entry in radii:
        method = entry.rpartition("=")[0]
        if not method:
            raise UsageError("radii", entry, "must be METHOD=RHO,RHO..., such as asam=0.5,1,2")
        if method == baseline:
            raise UsageError("radii", entry, f"must leave out {baseline}, which has no radius")
        if method not in known:
            others = ", ".join(one for one in known if one != baseline)
            raise UsageError(
                "radii", entry, f"must name a method of this sweep, {others}; or add {method} to the methods"
            )
        if method in found:
            raise UsageError("radii", entry, f"must name {method} once; separate its radii by commas")
        try:
            values = own_radii([entry])[method]
        except ValueError as error:
            raise UsageError("radii", entry, "must have numbers separated by commas, as in asam=0.5,1,2") from error
        if not all(0 <= value <= LARGEST for value in values) or len(set(values)) < len(values):
            raise UsageError("radii", entry, f"must have different radii >= 0 and at most {LARGEST:.2g}")
        found[method] = entry_of(method, sorted(values))
    return tuple(found.values())


def tuned_axes(names: Sequence[str], axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """The axes that are tuned.

    Args:
        names: their flags or names; words may be joined by dashes.
        axes: all axes of the workload.

    Raises:
        UsageError: if there is no such axis, it cannot be tuned, or it is named twice.
    """
    shared = {axis.name for axis in AXES}
    allowed = [axis for axis in axes if axis.name in TUNABLE or axis.name not in shared]
    by_name = {axis.name: axis for axis in allowed} | {axis.flag: axis for axis in allowed}
    found: dict[str, Axis] = {}
    for name in names:
        axis = by_name.get(name.replace("-", "_"))
        if name in ("rho", "rhos"):
            raise UsageError("tune", name, "must be left out: the radius is always chosen")
        if axis is None:
            raise nearest_name("tune", name, dict.fromkeys(axis.flag for axis in allowed))
        if axis.flag in found:
            raise UsageError("tune", tuple(names), f"must name {axis.flag} once")
        found[axis.flag] = axis
    return tuple(found.values())


def values_to_tune(axis: Axis, usual: Sequence[Any]) -> tuple[Any, ...]:
    """The values to try for a tuned axis where none are given: around the workload's own.

    Raises:
        UsageError: if its own value says nothing about others.
    """
    if len(usual) > 1:
        return tuple(usual)
    if axis.name in TUNABLE and usual[0] > 0:
        return tuple(float(f"{factor * usual[0]:.3g}") for factor in AROUND)
    raise UsageError("tune", axis.flag, f"needs values to choose from: give --{axis.flag.replace('_', '-')} A B ...")


def check_tuned(values: Mapping[str, tuple[Any, ...]], tuned: Sequence[Axis], radii: int) -> None:
    """Checks that there is something to choose, and that the baseline can have as many trials as the other methods.

    Args:
        values: flag -> values of the axis.
        tuned: the tuned axes.
        radii: number of radii of the method that tries most.

    Raises:
        UsageError: with the remedy.
    """
    for axis in tuned:
        if len(values[axis.flag]) < 2:
            remedy = f"needs several values to choose from: give --{axis.flag.replace('_', '-')} A B ..."
            raise UsageError("tune", axis.flag, remedy)
    if tuned and radii > 1 and refined_axis(tuned) is None:
        names = tuple(axis.flag for axis in tuned)
        remedy = "must include a number such as learning_rate: the baseline tries values in between instead of radii"
        raise UsageError("tune", names, remedy)


def refined_axis(tuned: Sequence[Axis]) -> Axis | None:
    """The tuned axis of which the baseline tries more values: the first that takes any number."""
    return next((axis for axis in tuned if axis.kind is float and axis.traced), None)


def refined(values: Sequence[float], times: int) -> tuple[float, ...]:
    """The values and further ones between them, ``times`` as many in all, in ascending order.

    Every interval is halved again and again (van der Corput's sequence), on a logarithmic scale if all values are
    positive. The values of a smaller ``times`` are among those of a larger one, so a sweep can grow. Further values are
    rounded to 3 digits.
    """
    ends = sorted(values)
    logarithmic = ends[0] > 0
    scaled = [math.log(end) for end in ends] if logarithmic else ends
    found = dict.fromkeys(ends)
    place = 0
    # Rounded values may coincide where the given ones are very close.
    while len(found) < times * len(ends) and place < 1000 * times * len(ends):
        interval, turn = place % (len(ends) - 1), place // (len(ends) - 1) + 1
        share = sum((turn >> bit & 1) / 2 ** (bit + 1) for bit in range(turn.bit_length()))
        between = scaled[interval] + share * (scaled[interval + 1] - scaled[interval])
        found[float(f"{math.exp(between) if logarithmic else between:.3g}")] = None
        place += 1
    return tuple(sorted(found))
