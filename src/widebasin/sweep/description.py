"""The description kept in a results folder, so that a report needs neither the workload nor its data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from widebasin.statistics import Metric


@dataclass(frozen=True)
class Published:
    """Gains that a paper reports, and the setting they hold for.

    Attributes:
        gains: number of parameters -> gain, in the unit of the metric's gains.
        source: the paper, for captions.
        setting: field of a resolved spec -> the value it must have for the gains to be comparable.
    """

    gains: Mapping[int, float]
    source: str
    setting: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodFacts:
    """What a report needs to know about a method.

    Attributes:
        title: name in text; for the baseline the name of the base optimizer, such as ``SGD`` or ``AdamW``.
        gradients_per_step: its cost per step.
    """

    title: str
    gradients_per_step: float


@dataclass(frozen=True)
class AxisFacts:
    """What a report needs to know about a column that distinguishes networks.

    Attributes:
        column: its name in the tables of results.
        phrase: format string for a value in text, with one field, such as ``label noise {}``.
        percent: whether values are fractions, written in percent.
    """

    column: str
    phrase: str
    percent: bool = False


@dataclass(frozen=True)
class Description:
    """What a report needs to know about a sweep besides its tables and its spec. Plain data, kept as JSON.

    Attributes:
        title: the workload in one line.
        model: name of the architecture.
        data: name of the data set.
        metrics: metrics of the workload; the first one selects epochs and radii, and its gain is reported.
        methods: id -> facts, in the order of the spec.
        axes: columns in which compared networks must agree, besides ``workload``, ``width`` and ``num_params``: axes of
            the grid other than method, radius, seed and those tuned.
        recipe: parts of the sentence that says how networks were trained.
        published: gains that a paper reports, if any.
        streamed: whether examples are read from disk during training.
        chance: value of the main metric for random guessing; ``None`` if unknown.
        references: values of the main metric that simple models reach on the test part, by name.
        tuned: columns whose value is chosen on validation for every setting and method, with the radius.
    """

    title: str
    model: str
    data: str
    metrics: tuple[Metric, ...]
    methods: Mapping[str, MethodFacts]
    axes: tuple[AxisFacts, ...]
    recipe: tuple[str, ...]
    published: Published | None = None
    streamed: bool = False
    chance: float | None = None
    references: Mapping[str, float] = field(default_factory=dict)
    tuned: tuple[AxisFacts, ...] = ()

    @property
    def metric(self) -> Metric:
        """The main metric: it selects epochs and radii."""
        return self.metrics[0]

    def record(self) -> dict[str, Any]:
        """The description as plain data for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Description":
        """Restores a description from ``record()`` after it was written as JSON.

        Raises:
            KeyError, TypeError, ValueError: if the record is invalid.
        """
        published = record["published"]
        return cls(
            title=record["title"],
            model=record["model"],
            data=record["data"],
            metrics=tuple(Metric(**one) for one in record["metrics"]),
            methods={name: MethodFacts(**one) for name, one in record["methods"].items()},
            axes=tuple(AxisFacts(**one) for one in record["axes"]),
            recipe=tuple(record["recipe"]),
            published=None
            if published is None
            else Published(
                {int(count): gain for count, gain in published["gains"].items()},
                published["source"],
                published["setting"],
            ),
            streamed=record["streamed"],
            chance=record.get("chance"),
            tuned=tuple(AxisFacts(**one) for one in record.get("tuned", ())),
            references={str(name): float(value) for name, value in record.get("references", {}).items()},
        )
