"""What was measured of networks: means, ratios, distances, slopes against the radius."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report.results_tables import SETTING, growing, results_table
from scipy import stats

from widebasin.statistics import ACCURACY, Design
from widebasin.statistics.intervals import t_interval
from widebasin.statistics.measurements import (
    distances_to_baseline,
    exponent_of_width,
    means_over_seeds,
    ratios_to_baseline,
    slope_against_radius,
)

# Thousandths: scipy refuses a scale that underflows.
numbers = st.integers(-(10**6), 10**6).map(lambda n: n / 1000)
DESIGN = Design(ACCURACY, SETTING)

# means_over_seeds --------------------------------------------------------------------------------------------------

BY = ["width", "method", "rho"]


def measured(value, **grid) -> pd.DataFrame:
    """One row per network with a ``sharpness`` given by a function of width, method, rho and seed."""
    return results_table(growing, **grid).assign(
        sharpness=lambda t: [float(value(row)) for row in t[["width", "method", "rho", "seed"]].itertuples()]
    )


@given(st.lists(numbers, min_size=3, max_size=3, unique=True))
def test_means_have_scipys_errors_and_intervals(values):
    table = measured(lambda n: values[n.seed], widths=(10,), methods=("sam",), rhos=(0.05,))
    (row,) = means_over_seeds(table, BY, ["sharpness"]).to_dict("records")
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    found = [row[f"sharpness{end}"] for end in ("", "_error", "_low", "_high")]
    np.testing.assert_allclose(found, [np.mean(values), stats.sem(values), low, high], rtol=1e-9, atol=1e-9)
    assert (row["width"], row["method"], row["rho"], row["networks"]) == (10, "sam", 0.05, 3)


def test_groups_come_in_order_of_appearance():
    table = measured(lambda n: n.width * n.rho + n.seed, rhos=(0.2, 0.05)).iloc[::-1]
    means = means_over_seeds(table, BY, ["sharpness"])
    assert list(means[BY].itertuples(index=False, name=None)) == list(
        dict.fromkeys(table[BY].itertuples(index=False, name=None))
    )
    np.testing.assert_allclose(means["sharpness"], means["width"] * means["rho"] + 1)


def test_one_seed_has_a_mean_alone_and_a_value_not_finite_is_not_left_out():
    one = means_over_seeds(measured(lambda n: 7.0, seeds=(4,)), BY, ["sharpness"])
    np.testing.assert_array_equal(one["sharpness"], 7.0)
    assert one[["sharpness_error", "sharpness_low", "sharpness_high"]].isna().all(axis=None)
    gone = means_over_seeds(measured(lambda n: np.nan if n.seed == 1 else 7.0), BY, ["sharpness"])
    assert gone["sharpness"].isna().all()


def test_no_networks_have_no_rows_but_all_columns():
    none = measured(lambda n: 1.0).iloc[:0]
    whole = means_over_seeds(measured(lambda n: 1.0), BY, ["sharpness", "train_loss"])
    empty = means_over_seeds(none, BY, ["sharpness", "train_loss"])
    assert (len(empty), list(empty.columns)) == (0, list(whole.columns))
    ratios = ratios_to_baseline(none, DESIGN, ["sharpness", "train_loss"])
    assert len(ratios) == 0
    assert list(ratios.columns) == list(
        ratios_to_baseline(measured(lambda n: 1.0), DESIGN, ["sharpness", "train_loss"]).columns
    )


def test_a_network_that_is_there_twice_is_refused():
    table, positions = measured(lambda n: 1.0 + n.rho), vectors()
    one = table[(table["width"] == 10) & (table["method"] == "sam")]
    for read, of in (
        (lambda t: means_over_seeds(t, BY, ["sharpness"]), table),
        (lambda t: ratios_to_baseline(t, DESIGN, ["sharpness"]), table),
        (lambda t: distances_to_baseline(t, DESIGN, relative=True), positions),
        (lambda t: slope_against_radius(t, "sharpness"), one),
    ):
        read(of)
        with pytest.raises(ValueError, match=f"every network once, but {len(of)} rows repeat one"):
            read(pd.concat([of, of]))


# ratios_to_baseline ------------------------------------------------------------------------------------------------

# Powers are equal, or differ beyond rounding.
powers = st.integers(-2_000, 2_000).map(lambda thousandths: thousandths / 1_000)
logs = st.lists(st.floats(-3, 3), min_size=3, max_size=3)


def ratio(table, **where) -> dict:
    rows = ratios_to_baseline(table, DESIGN, ["sharpness"])
    (row,) = rows[(rows[list(where)] == list(where.values())).all(axis=1)].to_dict("records")
    return row


@given(logs, logs)
def test_the_ratio_is_the_geometric_mean_with_scipys_interval_of_the_logarithms(of_method, of_baseline):
    logarithms = {"sam": of_method, "sgd": of_baseline}
    table = measured(lambda n: np.exp(logarithms[n.method][n.seed]), widths=(10,), rhos=(0.05,))
    differences = np.subtract(of_method, of_baseline)
    error = np.std(differences, ddof=1) / np.sqrt(3)
    quantile = stats.t.ppf(0.975, 2)
    expected = np.exp([differences.mean() + sign * quantile * error for sign in (0, -1, 1)])
    if np.ptp(differences) < 1e-6:
        expected[1:] = np.nan
    row = ratio(table, rho=0.05)
    np.testing.assert_allclose([row[f"sharpness{end}"] for end in ("", "_low", "_high")], expected, rtol=1e-6)
    assert row["pairs"] == 3


@pytest.mark.slow
@given(st.lists(st.integers(-20, 20), min_size=3, max_size=3), logs)
def test_a_factor_of_a_seed_cancels_exactly(exponents, of_method):
    """Powers of two, which floating point multiplies and divides by without rounding."""

    def value(network):
        return np.exp(of_method[network.seed]) if network.method == "sam" else 1.0 + network.seed

    plain = ratios_to_baseline(measured(value), DESIGN, ["sharpness"])
    moved = ratios_to_baseline(measured(lambda n: value(n) * 2.0 ** exponents[n.seed]), DESIGN, ["sharpness"])
    pd.testing.assert_frame_equal(moved, plain, check_exact=True)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("method", ["sgd", "sam"])
def test_pairs_without_two_positive_numbers_are_left_out(bad, method):
    def value(network):
        if network.method == method and network.seed == 1:
            return bad
        return 3.0 if network.method == "sam" else (1.0 if network.seed == 0 else 4.0)

    row = ratio(measured(value, widths=(10,)), rho=0.2)
    assert row["sharpness"] == pytest.approx(math.sqrt(3 * 0.75))
    none = ratio(measured(lambda n: bad if n.method == method else 1.0, widths=(10,)), rho=0.2)
    assert all(math.isnan(none[f"sharpness{end}"]) for end in ("", "_low", "_high"))


def test_ratios_are_of_the_same_setting_and_have_a_row_per_method_and_radius():
    table = measured(lambda n: n.width * (1 + n.rho), methods=("sgd", "sam", "unnormalized-sam"))
    ratios = ratios_to_baseline(table, DESIGN, ["sharpness"])
    assert len(ratios) == 2 * 2 * 2
    np.testing.assert_allclose(ratios["sharpness"], 1 + ratios["rho"])
    one_seed = ratios_to_baseline(table[table["seed"] == 0], DESIGN, ["sharpness"])
    np.testing.assert_allclose(one_seed["sharpness"], 1 + one_seed["rho"])
    assert one_seed[["sharpness_low", "sharpness_high"]].isna().all(axis=None)


# distances_to_baseline ---------------------------------------------------------------------------------------------

# Values at two positions by method and seed.
VECTORS = {
    ("sgd", 0): (3.0, 4.0),
    ("sgd", 1): (0.0, 2.0),
    ("sam", 0): (3.0, 1.0),
    ("sam", 1): (6.0, 10.0),
}


def vectors(widths=(10,)) -> pd.DataFrame:
    table = results_table(growing, widths=widths, rhos=(0.05,), seeds=(0, 1))
    positions = pd.DataFrame({"position": [-1.0, 0.5]})
    values = table.merge(positions, how="cross")
    places = zip(values["method"], values["seed"], values["position"], strict=True)
    return values.assign(value=[VECTORS[method, seed][int(position > 0)] for method, seed, position in places])


@pytest.mark.parametrize(("relative", "expected"), [(True, [3 / 5, 10 / 2]), (False, [3 / 2**0.5, 10 / 2**0.5])])
def test_distances_by_hand(relative, expected):
    distances = distances_to_baseline(vectors(), DESIGN, relative)
    assert list(zip(distances["method"], distances["seed"], strict=True)) == [("sam", 0), ("sam", 1)]
    np.testing.assert_allclose(distances["distance"], expected, rtol=1e-12)


@settings(max_examples=20)
@given(st.permutations(range(16)))
def test_distances_go_by_setting_seed_and_position_and_not_by_the_order_of_rows(order):
    table = vectors(widths=(10, 100))
    moved = table.assign(value=table["value"] + 100 * table["width"])
    keys = ["width", "seed"]
    shuffled = distances_to_baseline(moved.iloc[order], DESIGN, relative=False).sort_values(keys, ignore_index=True)
    plain = distances_to_baseline(table, DESIGN, relative=False).sort_values(keys, ignore_index=True)
    np.testing.assert_allclose(shuffled["distance"], plain["distance"], rtol=1e-9)
    assert list(shuffled["distance"].round(9)) == list(np.round([3 / 2**0.5, 10 / 2**0.5] * 2, 9))


def test_no_distances_without_a_partner():
    table = vectors()
    alone = distances_to_baseline(table[table["method"] == "sam"], DESIGN, relative=True)
    assert (len(alone), "distance" in alone) == (0, True)
    one = distances_to_baseline(table[~((table["method"] == "sgd") & (table["seed"] == 0))], DESIGN, relative=True)
    assert list(one["seed"]) == [1]


# slope_against_radius ----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(-3, 3), powers), min_size=3, max_size=3))
def test_a_power_law_gives_its_exponent(laws):
    """``10**c rho**p`` with another ``c`` and ``p`` for every seed: mean and interval of the exponents."""
    table = measured(
        lambda n: 10 ** laws[n.seed][0] * n.rho ** laws[n.seed][1] if n.rho else 99.0,
        widths=(10,),
        methods=("sam",),
        rhos=(0.0, 0.01, 0.02, 0.5),
    )
    found = slope_against_radius(table, "sharpness")
    expected = t_interval([p for _, p in laws])
    np.testing.assert_allclose(dataclasses.astuple(found), dataclasses.astuple(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_what_has_no_logarithm_is_no_part_of_the_slope(bad):
    options = {"widths": (10,), "methods": ("sam",), "rhos": (0.01, 0.02, 0.5)}
    table = measured(lambda n: bad if n.rho == 0.02 else n.rho**-2, **options)
    assert slope_against_radius(table, "sharpness").mean == pytest.approx(-2)
    table = measured(lambda n: bad if n.seed == 0 and n.rho > 0.01 else n.rho**-2, **options)
    assert slope_against_radius(table, "sharpness").count == 2
    assert slope_against_radius(measured(lambda n: bad if n.rho > 0.01 else 1.0, **options), "sharpness") is None


# exponent_of_width -------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(-3, 3), powers), min_size=3, max_size=3))
def test_a_power_of_the_width_is_found(laws):
    table = measured(
        lambda n: 10 ** laws[n.seed][0] * n.width ** laws[n.seed][1], widths=(3, 10, 200), methods=("sam",), rhos=(0.1,)
    )
    found, expected = exponent_of_width(table, "sharpness"), t_interval([p for _, p in laws])
    np.testing.assert_allclose(dataclasses.astuple(found), dataclasses.astuple(expected), rtol=1e-9, atol=1e-9)


def test_a_width_without_a_size_is_no_part_of_its_power():
    options = {"widths": (3, 10, 200), "methods": ("sam",), "rhos": (0.1,)}
    table = measured(lambda n: np.nan if n.width == 10 else n.width**0.5, **options)
    assert exponent_of_width(table, "sharpness").mean == pytest.approx(0.5)
    assert exponent_of_width(measured(lambda n: 1.0 if n.width == 3 else np.nan, **options), "sharpness") is None
    with pytest.raises(ValueError, match="give only rows of one setting"):
        exponent_of_width(pd.concat([table, table]), "sharpness")
