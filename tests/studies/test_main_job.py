"""The main job of the README: the default study, on half of its widths."""

import os

import numpy as np
import pandas as pd
import pytest
from report.results_tables import gains_of, paired_of
from sweep.commands import widebasin

from widebasin.statistics.trends import slope_per_decade

# Every other one of the six; the largest takes half of the time of all.
WIDTHS = (4, 16, 64)


@pytest.mark.slow
def test_the_gain_of_sam_grows_with_the_number_of_parameters(tmp_path):
    # With the optimizations that a user has: most of the time goes into training.
    optimized = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    widebasin("study", "overparam", "--widths", *WIDTHS, "--quiet", check=0, cwd=tmp_path, env=optimized)
    results = pd.read_parquet(tmp_path / "results" / "overparam" / "results.parquet")
    assert len(results) == 3 * 7 * 5
    assert results.groupby(["width", "method"])["rho"].nunique().unstack().to_numpy().tolist() == [[6, 1]] * 3
    assert not results["diverged"].any()
    paired = paired_of(results)
    slope = slope_per_decade(paired)
    assert slope is not None
    assert slope.low > 0
    gains = gains_of(results).sort_values("num_params")
    assert gains["num_params"].tolist() == [882, 4_074, 25_482]
    assert (gains["low"].iloc[1:] > 0).all()
    assert np.corrcoef(np.log(gains["num_params"]), np.log(gains["rho_star"]))[0, 1] > 0.8
    # Larger networks fit the wrong labels better; that is where SGD loses and SAM does not.
    assert gains["baseline_train_loss"].is_monotonic_decreasing
