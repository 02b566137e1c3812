"""The axes of a grid, declared in one table.

The table determines the flags and keys of a spec, their checks, the product of a grid, the columns that identify a
network, the flags of ``widebasin train`` and the phrases of a report. A workload can add its own axes.
"""

from collections.abc import Iterable
from typing import Any

from widebasin.axis import Axis

# Beyond it a float32 is infinite.
LARGEST = 3.4e38


def _finite(value: float) -> bool:
    return 0 <= value <= LARGEST


def _positive(value: float) -> bool:
    return 0 < value <= LARGEST


def _share(value: float) -> bool:
    return 0 <= value < 1


def _parametrizations() -> Iterable[str]:
    from widebasin.parametrization import PARAMETRIZATIONS

    return PARAMETRIZATIONS


def _methods() -> Iterable[str]:
    from widebasin.sam import METHODS

    return METHODS


def _pruner(name: str) -> bool:
    from widebasin.training import PRUNERS

    return name in PRUNERS


SEEDS = 5

AXES: tuple[Axis, ...] = (
    Axis(
        "width",
        "widths",
        int,
        "a whole number of at least 1",
        lambda value: value >= 1,
        lambda workload: workload.widths,
        traced=False,
        help="Width of the model.",
    ),
    Axis(
        "method",
        "methods",
        str,
        "the name of a method",
        lambda name: name.partition(":")[0] in _methods(),
        ("sgd", "sam"),
        traced=False,
        phrase="{}",
        help="Method of the SAM family, or sgd, the baseline; with hyperparameters as in looksam:k=10,alpha=0.5.",
        names=_methods,
    ),
    Axis(
        "rho",
        "rhos",
        float,
        f"a finite number >= 0, at most {LARGEST:g}",
        _finite,
        lambda workload: workload.rhos,
        help="Radius of the ascent; used by all methods except sgd.",
        single=0.05,
    ),
    Axis(
        "sparsity",
        "sparsity",
        float,
        "a fraction in [0, 1), such as 0.75 for 75%",
        _share,
        (0.0,),
        percent=True,
        help="Fraction of the kernels' entries pruned at initialization, in [0, 1); 0 prunes nothing.",
        hint="see prune",
    ),
    Axis(
        "pruner",
        "pruners",
        str,
        "random or snip",
        _pruner,
        ("random",),
        help="How pruned entries are chosen: random (in every layer) or snip (over all layers, by |w dL/dw|).",
    ),
    Axis(
        "output_scale",
        "output_scale",
        float,
        f"a finite number > 0, at most {LARGEST:g}",
        _positive,
        lambda workload: workload.output_scales,
        help="Scale alpha of the lazy regime: alpha (f(w) - f(w0)) is trained with the loss over alpha squared.",
    ),
    Axis(
        "label_noise",
        "label_noise",
        float,
        "a fraction in [0, 1), such as 0.3 for 30%",
        _share,
        lambda workload: (workload.label_noise,),
        percent=True,
        help="Fraction of wrong training labels, in [0, 1).",
    ),
    Axis(
        "weight_decay",
        "weight_decay",
        float,
        f"a finite number >= 0, at most {LARGEST:g}",
        _finite,
        lambda workload: (workload.recipe.weight_decay,),
        help="Weight decay coefficient.",
    ),
    Axis(
        "learning_rate",
        "learning_rate",
        float,
        f"a finite number > 0, at most {LARGEST:g}",
        _positive,
        lambda workload: (workload.recipe.learning_rate,),
        help="Learning rate at the start of the schedule.",
    ),
    Axis(
        "parametrization",
        "parametrization",
        str,
        "standard, mup or mup2",
        lambda name: name in _parametrizations(),
        ("standard",),
        traced=False,
        phrase="{} parametrization",
        help="How layers follow the width: standard, mup (initialization and learning rates) or mup2 (the ascent too).",
        single="standard",
        names=_parametrizations,
    ),
    Axis(
        "seed",
        "seeds",
        int,
        "a whole number of at least 1",
        lambda value: value >= 1,
        (SEEDS,),
        help="Number of seeds; networks with the same seed share split, initialization, batch order and noisy labels.",
        single=0,
        single_help="Seed for split, initialization, batch order and noisy labels.",
        counted=True,
    ),
)
"""The axes, in the order of the columns of results."""

# What says which cell a network is in, and what is not set by ``Point.axes``.
CELL_AXES = ("width", "method")
SEED, PARAMETRIZED = AXES[-1], AXES[-2]
# Axes that make no setting: the study compares along these.
COMPARED = ("width", "method", "rho", "seed")


def with_own(own: Iterable[Axis]) -> tuple[Axis, ...]:
    """Inserts a workload's own axes before the seed: first those that vary within a cell, then the others."""
    return (*AXES[:-1], *sorted(own, key=lambda axis: not axis.traced), SEED)


def own_of(axes: Iterable[Axis]) -> tuple[Axis, ...]:
    """The axes that are not in the table."""
    names = {axis.name for axis in AXES}
    return tuple(axis for axis in axes if axis.name not in names)


def record_of(own: Iterable[Axis]) -> list[dict[str, Any]]:
    """A workload's own axes as plain data, with what is needed to read its results."""
    return [
        {name: getattr(axis, name) for name in ("name", "flag", "traced", "phrase", "percent")}
        | {"kind": axis.kind.__name__}
        for axis in own
    ]


def from_record(record: Iterable[dict[str, Any]]) -> tuple[Axis, ...]:
    """Restores axes from ``record_of``, without checks and defaults.

    Raises:
        KeyError, TypeError, ValueError: if the record is invalid.
    """
    kinds: dict[str, type] = {kind.__name__: kind for kind in (int, float, str)}
    return tuple(
        Axis(
            one["name"],
            one["flag"],
            kinds[one["kind"]],
            "",
            lambda value: True,
            (),
            traced=one["traced"],
            phrase=one["phrase"],
            percent=one["percent"],
        )
        for one in record
    )
