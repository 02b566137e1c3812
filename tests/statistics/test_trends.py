import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.results_tables import growing, paired_of, results_table

from widebasin.statistics.intervals import t_interval
from widebasin.statistics.trends import slope_difference, slope_per_decade, slopes_by_seed

# Tenths: slopes are equal, or differ beyond the rounding of gains.
numbers = st.integers(-(10**4), 10**4).map(lambda n: n / 10)


def gains_at(rows):
    """``paired_gains`` of (seed, number of parameters, gain), over a baseline at 0."""
    return pd.DataFrame(rows, columns=["seed", "num_params", "gain"]).assign(
        baseline_value=0.0, value=lambda table: table["gain"]
    )


@given(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=4))
def test_slope_of_a_straight_line_is_exact(lines):
    paired = gains_at((seed, 10**k, start + slope * k) for seed, (start, slope) in enumerate(lines) for k in (2, 3, 5))
    slopes = np.array([slope for _, slope in lines])
    np.testing.assert_allclose(slopes_by_seed(paired), slopes, atol=1e-7)
    assert dataclasses.astuple(slope_per_decade(paired)) == pytest.approx(
        dataclasses.astuple(t_interval(slopes)), abs=1e-5, nan_ok=True
    )


@given(st.lists(numbers, min_size=4, max_size=4))
def test_slope_is_that_of_least_squares(gains):
    counts = np.array([100, 900, 2_000, 70_000])
    x = np.log10(counts) - np.log10(counts).mean()
    paired = pd.DataFrame({"seed": 7, "num_params": counts, "gain": gains})
    np.testing.assert_allclose(slopes_by_seed(paired)[7], x @ gains / (x @ x), rtol=1e-9, atol=1e-9)


def test_seeds_with_a_gain_that_is_not_finite_have_no_slope():
    paired = gains_at(zip([0, 0, 1, 1, 2, 2], [10, 100] * 3, [1.0, 3.0, np.nan, 1.0, 0.0, 4.0], strict=True))
    assert dict(slopes_by_seed(paired)) == pytest.approx({0: 2.0, 2: 4.0})
    assert slope_per_decade(paired).mean == pytest.approx(3.0)
    assert slope_per_decade(paired[paired["seed"] == 1]) is None


def test_one_width_has_no_slope():
    assert slope_per_decade(paired_of(results_table(growing, widths=(10,)))) is None


def test_slope_difference_is_paired_by_seed():
    slopes, other = {0: 1.0, 1: 2.0, 2: 9.0}, {2: 9.5, 1: 2.5, 0: 1.5, 3: 100.0}
    tables = [
        gains_at((seed, 10**k, slope * k) for seed, slope in of.items() for k in (1, 2)) for of in (slopes, other)
    ]
    difference = slope_difference(*tables)
    assert (difference.mean, difference.count) == (pytest.approx(0.5), 3)
    assert difference.standard_error == pytest.approx(0.0, abs=1e-9)
    assert slope_difference(tables[0], tables[1][tables[1]["seed"] == 3]) is None


def test_a_seed_with_several_gains_of_one_size_is_refused():
    paired = paired_of(results_table(growing, label_noise=(0.0, 0.4)))
    assert len(slopes_by_seed(paired[paired["label_noise"] == 0])) == 3
    with pytest.raises(ValueError, match=r"every network once.*or give only rows of one setting"):
        slopes_by_seed(paired)
