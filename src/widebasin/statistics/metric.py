"""The class ``Metric``: what a trained network is evaluated by."""

from collections.abc import Sequence
from dataclasses import dataclass

from widebasin.shown import shown

PERCENT = "%"


@dataclass(frozen=True)
class Metric:
    """A measure of how good a network is. It is stored with the results, so that a reader needs nothing else.

    Attributes:
        name: column after ``train_``, ``valid_``, ``test_``: ``accuracy``, ``loss`` ...
        higher_is_better: whether higher values are better.
        unit: unit of the displayed values, such as ``%``; empty if none.
        scale: factor from the stored to the displayed value: 100 for a fraction shown in percent.
        words: name in text; by default the name with blanks for underscores.
        mean_of: name of the metric whose mean over the epochs so far this one is: the area under the learning curve,
            divided by the number of epochs. Empty if it is measured.
    """

    name: str
    higher_is_better: bool
    unit: str = ""
    scale: float = 1.0
    words: str = ""
    mean_of: str = ""

    @property
    def percent(self) -> bool:
        """Whether values are shown in percent, and gains in percentage points."""
        return self.unit == PERCENT

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1."""
        return 1 if self.higher_is_better else -1

    @property
    def title(self) -> str:
        """What it is called in text."""
        return shown(self.words or self.name.replace("_", " "))

    @property
    def label(self) -> str:
        """For axes: name and unit."""
        return f"{self.title} ({shown(self.unit)})" if self.unit else self.title

    @property
    def short(self) -> str:
        """For headings: the unit if it is clear enough, else the label."""
        return self.unit if self.percent else self.label

    @property
    def gain(self) -> str:
        """The meaning of a gain, in words."""
        if self.percent:
            return "percentage points"
        return f"{'increase' if self.higher_is_better else 'decrease'} of the {self.title}"

    @property
    def gain_label(self) -> str:
        """For axes: the meaning of a gain, and its unit."""
        if self.percent:
            return f"{self.title} gain (percentage points)"
        unit = f" ({shown(self.unit)})" if self.unit else ""
        return f"gain: {'increase' if self.higher_is_better else 'decrease'} of test {self.title}{unit}"

    @property
    def gain_unit(self) -> str:
        """The unit after a gain: ``points`` (percentage points), the metric's own unit, or empty."""
        return "points" if self.percent else shown(self.unit)


ACCURACY = Metric("accuracy", True, PERCENT, 100.0)
LOSS = Metric("loss", False)
MEAN_AVERAGE_PRECISION = Metric("map", True, PERCENT, 100.0, "mean average precision")
RETURN = Metric("return", True)
MEAN_RETURN = Metric("mean_return", True, words="return averaged over training", mean_of=RETURN.name)
ROC_AUC = Metric("roc_auc", True, PERCENT, 100.0, "mean ROC-AUC")


def recorded(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """Names of the values recorded for every network and epoch: the loss, then the metrics."""
    return tuple(dict.fromkeys((LOSS.name, *(metric.name for metric in metrics))))
