"""What of a table is compared."""

import subprocess
import sys

import pytest
from report.results_tables import design_of, growing, results_table

from widebasin.statistics import ACCURACY, Design


def test_varying_names_what_tells_series_apart():
    results = results_table(growing, widths=(10, 100))
    design = design_of(results)
    assert design.varying(results) == []
    results = results_table(growing, label_noise=(0.0, 0.2))
    assert design.varying(results) == ["label_noise"]
    assert design.varying(results.assign(weight_decay=results["seed"] * 1e-4)) == ["label_noise", "weight_decay"]


def test_readings_tell_series_apart_where_they_are_named():
    results = results_table(growing).assign(stopped=lambda rows: rows["seed"])
    design = design_of(results)
    assert design.varying(results) == []
    assert design.read_by("stopped").varying(results) == ["stopped"]
    assert design.read_by("stopped").identity == (*design.setting, "stopped", "method", "rho", "seed")


@pytest.mark.parametrize(
    ("part", "at", "column"),
    [("valid", "final", "valid_accuracy"), ("test", "final", "test_accuracy"), ("test", "best", "best_test_accuracy")],
)
def test_columns_of_the_metric(part, at, column):
    assert Design(ACCURACY, ()).column(part, at) == column


def test_metrics_and_designs_load_no_tables_of_numbers():
    program = "import sys, widebasin.statistics; print({'pandas', 'numpy', 'scipy', 'jax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
