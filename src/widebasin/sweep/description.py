"""What a results folder says of itself, so that a report needs neither the workload nor its data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from widebasin.statistics import Metric


@dataclass(frozen=True)
class Published:
    """Gains that a paper reports, and where they hold.

    Attributes:
        gains: number of parameters -> gain, in the unit of the metric's gains.
        source: where they are from, for captions.
        setting: field of a resolved spec -> the value it must have for the gains to be comparable.
    """

    gains: Mapping[int, float]
    source: str
    setting: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodFacts:
    """What a report says of a method.

    Attributes:
        title: as written in text; of the baseline the base optimizer's, such as ``SGD`` or ``AdamW``.
        gradients_per_step: its cost.
    """

    title: str
    gradients_per_step: float


@dataclass(frozen=True)
class AxisFacts:
    """What a report says of a column that tells networks apart.

    Attributes:
        column: in the tables of results.
        phrase: of a value in text, with one field, such as ``label noise {}``.
        percent: whether values are shares that are written in percent.
    """

    column: str
    phrase: str
    percent: bool = False


@dataclass(frozen=True)
class Description:
    """What a report needs to know of a sweep besides its tables and its spec. Plain data: it is kept as JSON.

    Attributes:
        title: the workload in one line.
        model: name of the architecture.
        data: name of the data set.
        metrics: of the workload; the first one judges: it chooses epochs and radii, and its gain is reported.
        methods: id -> facts, in the order of the spec.
        axes: what makes networks comparable besides ``workload``, ``width`` and ``num_params``: axes of the grid other
            than method, radius and seed.
        recipe: parts of the sentence that says how networks were trained, each complete in itself.
        published: gains that a paper reports, if there are any.
        streamed: whether examples are read from the disk while networks train.
        chance: what guessing reaches in the metric that judges; ``None`` where that is not known.
        references: what simple models reach in that metric, on the test part; by name.
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

    @property
    def metric(self) -> Metric:
        """The metric that judges."""
        return self.metrics[0]

    def record(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Description":
        """From ``record()``, after a trip through JSON.

        Raises:
            KeyError, TypeError, ValueError: if it is no such record.
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
            references={str(name): float(value) for name, value in record.get("references", {}).items()},
        )
