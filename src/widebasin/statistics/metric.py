"""What a trained network is judged by."""

from dataclasses import dataclass

PERCENT = "%"


@dataclass(frozen=True)
class Metric:
    """A number that says how good a network is. It travels with the results, so that a reader needs nothing else.

    Attributes:
        name: column after ``train_``, ``valid_``, ``test_``: ``accuracy``, ``loss`` ...
        higher_is_better: the direction.
        unit: of values as they are shown: ``%`` or empty.
        scale: factor from the stored value to the unit shown: 100 for a share shown in percent.
    """

    name: str
    higher_is_better: bool
    unit: str = ""
    scale: float = 1.0

    @property
    def title(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ")

    @property
    def label(self) -> str:
        """For axes: name and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def gain_label(self) -> str:
        """For axes: what a gain is, and its unit."""
        if self.unit == PERCENT:
            return f"{self.title} gain (percentage points)"
        return f"gain: {'increase' if self.higher_is_better else 'decrease'} of test {self.title}"

    @property
    def gain_unit(self) -> str:
        """After a gain: ``points`` (percentage points), or empty where the gain has the metric's own unit."""
        return "points" if self.unit == PERCENT else ""


ACCURACY = Metric("accuracy", True, PERCENT, 100.0)
LOSS = Metric("loss", False)
