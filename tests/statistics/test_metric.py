"""What metrics say of themselves."""

import pytest

from widebasin.statistics import ACCURACY, LOSS, Metric


@pytest.mark.parametrize(
    ("metric", "label", "gain_label", "gain_unit"),
    [
        (ACCURACY, "accuracy (%)", "accuracy gain (percentage points)", "points"),
        (LOSS, "loss", "gain: decrease of test loss", ""),
        (Metric("mean_average_precision", True), "mean average precision", None, ""),
        (Metric("episode_return", True), "episode return", "gain: increase of test episode return", ""),
        (
            Metric("energy_error", False, "meV"),
            "energy error (meV)",
            "gain: decrease of test energy error (meV)",
            "meV",
        ),
    ],
)
def test_labels(metric, label, gain_label, gain_unit):
    assert metric.label == label
    assert metric.gain_unit == gain_unit
    if gain_label is not None:
        assert metric.gain_label == gain_label
