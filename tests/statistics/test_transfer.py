"""The optimum of learning rate and radius, its movement with the width, and the cost of its transfer."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report.results_tables import design_of
from report.transfer_tables import (
    GAIN,
    LOSS_RADIUS,
    LOSS_RATE,
    RADII,
    RADIUS,
    RATE,
    SHIFTS,
    optimum,
    transfer_table,
)

from widebasin.statistics.gains import paired_gains
from widebasin.statistics.transfer import (
    best_networks,
    best_settings,
    optima,
    over_learning_rates,
    shift_interval,
    transfer_costs,
)


def found(results, **options):
    return optima(results, design_of(results), **{"resamples": 200} | options)


def shift(results, kind, method, setting, **options) -> pd.Series:
    shifts = found(results, **options).shifts.set_index(["parametrization", "method", "setting"])
    return shifts.loc[(kind, method, setting)]


# The optimum and its movement --------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["accuracy", "word_error_rate"])
def test_the_optimum_of_a_parabola_is_exact_whether_higher_or_lower_is_better(metric):
    table = found(transfer_table(metric=metric)).table
    assert len(table) == 3 * 2 * 2
    for row in table.to_dict("records"):
        rate, radius = optimum(row["parametrization"], row["width"])
        assert np.log2(row["best_learning_rate"]) == pytest.approx(rate, abs=1e-6)
        if row["method"] == "sam":
            assert np.log2(row["best_rho"]) == pytest.approx(radius, abs=1e-6)
            assert abs(np.log2(row["rho"] / row["best_rho"])) <= 0.5


def test_the_shift_is_in_factors_of_two_and_the_slope_per_doubling_of_the_width():
    shifts = found(transfer_table(widths=(10, 20, 100))).shifts.query("method == 'sam'")
    assert len(shifts) == 2 * 3
    for _, row in shifts.iterrows():
        moved = SHIFTS[row["parametrization"]][row["setting"] == "rho"]
        assert row["shift"] == pytest.approx(moved, abs=1e-6)
        assert row["slope"] == pytest.approx(moved / np.log2(10), abs=1e-6)
        assert row["large"] / row["small"] == pytest.approx(2**moved, rel=1e-6)
        assert (row["small_width"], row["large_width"], row["seeds"]) == (10, 100, 5)


def test_a_grid_of_uneven_steps_has_the_same_vertex():
    table = found(transfer_table(("mup2",), rates=(0.03, 0.1, 0.25, 0.9), rhos=(0.02, 0.1, 0.15, 0.9))).table
    sam = table[table["method"] == "sam"]
    np.testing.assert_allclose(sam["best_learning_rate"], RATE, rtol=1e-6)
    np.testing.assert_allclose(sam["best_rho"], RADIUS, rtol=1e-6)


def test_alike_seeds_give_an_interval_of_no_width_and_few_seeds_give_none():
    row = shift(transfer_table(("mup",)), "mup", "sam", "rho")
    assert (row["shift_low"], row["shift_high"]) == pytest.approx((1.5, 1.5))
    alone = shift_interval(shift(transfer_table(("mup",), seeds=(0,)), "mup", "sam", "rho"), "shift")
    assert not alone.certain
    assert alone.words(".1f") == "one seed, no interval"
    few = shift_interval(shift(transfer_table(("mup",), seeds=range(4)), "mup", "sam", "rho"), "shift")
    assert few.words(".1f") == "no interval"


def test_the_interval_is_that_of_a_plain_bootstrap_with_the_same_seeds_at_all_widths():
    """The optimum moves by as much at every width for a seed: if the seeds are drawn jointly, no shift is in doubt."""
    results = transfer_table(("mup",), spread=0.3)
    row = shift(results, "mup", "sgd", "learning_rate")
    assert (row["shift_low"], row["shift_high"]) == pytest.approx((0.0, 0.0), abs=1e-6)
    table = found(results, resamples=2000).table.query("method == 'sgd'")
    # The vertex of a mean of parabolas of one curvature is the mean of the vertices.
    drawn = 0.3 * (np.random.default_rng(5).integers(5, size=(20_000, 5)) - 2).mean(1)
    expected = np.log2(RATE) + np.quantile(drawn, [0.025, 0.975])
    for low, high in table[["best_learning_rate_low", "best_learning_rate_high"]].to_numpy():
        assert np.log2([low, high]) == pytest.approx(expected, abs=1e-6)
    pd.testing.assert_frame_equal(table, found(results, resamples=2000).table.query("method == 'sgd'"))


@pytest.mark.slow
def test_of_five_seeds_the_interval_leaves_out_the_true_movement_in_one_case_of_six():
    """Optima of every seed and width are normal around the same one, so that there is no movement."""
    random = np.random.default_rng(0)
    results = transfer_table(("mup",)).query("method == 'sgd'")
    missed = []
    for _ in range(200):
        moved = random.normal(0, 0.3, (2, 5))
        away = np.log2(results["learning_rate"] / RATE) - moved[(results["width"] > 10).astype(int), results["seed"]]
        drawn = results.assign(valid_accuracy=0.9 - LOSS_RATE * away**2)
        one = shift_interval(shift(drawn, "mup", "sgd", "learning_rate", resamples=400), "shift")
        missed.append(one.above() or one.below())
    assert 1 / 9 < np.mean(missed) < 1 / 4


@settings(max_examples=10, deadline=None)
@given(st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_other_units_of_radius_and_learning_rate_change_no_shift(rho, rate):
    results = transfer_table(("standard",), spread=0.2)
    scaled = results.assign(rho=results["rho"] * rho, learning_rate=results["learning_rate"] * rate)
    numbers = ["shift", "shift_low", "shift_high", "slope", "slope_low", "slope_high"]
    np.testing.assert_allclose(
        found(scaled, resamples=50).shifts[numbers], found(results, resamples=50).shifts[numbers], atol=1e-6
    )


def test_at_an_end_of_those_tried_the_optimum_is_not_moved_and_the_end_is_named():
    table = found(transfer_table(("mup2",), rates=(0.05, 0.1), rhos=(0.4, 0.8))).table
    sam = table[table["method"] == "sam"]
    assert set(sam["learning_rate_edge"]) == {"largest"}
    assert set(sam["rho_edge"]) == {"smallest"}
    assert set(sam["best_learning_rate"]) == {0.1}
    assert set(sam["best_rho"]) == {0.4}
    assert set(found(transfer_table(("mup2",))).table["rho_edge"]) == {""}


def test_radius_0_of_a_method_has_a_logarithm_nowhere():
    beside = found(transfer_table(("mup2",), rhos=(0.0, 0.1, 0.2))).table.query("method == 'sam'")
    assert set(beside["best_rho"]) == {0.1}
    assert set(beside["rho_edge"]) == {""}
    far = transfer_table(("mup2",), rhos=(0.0, 0.1, 0.2))
    for part in ("valid", "test"):
        far.loc[(far["rho"] == 0.0) & (far["method"] == "sam"), f"{part}_accuracy"] = 0.99
    result = found(far)
    assert set(result.table.query("method == 'sam'")["best_rho"]) == {0.0}
    assert not shift_interval(result.shifts.query("setting == 'rho'").iloc[0], "shift").certain


def test_a_trial_in_which_a_network_diverged_is_the_worst_and_bounds_the_optimum_without_a_parabola():
    results = transfer_table(("mup2",), diverged=lambda network, rate: rate > 0.3 and network.seed == 1)
    sgd = found(results).table.query("method == 'sgd'")
    assert set(sgd["best_learning_rate"]) == {0.2}
    assert set(sgd["learning_rate_edge"]) == {""}
    # A resample without that seed has the parabola.
    np.testing.assert_allclose(sgd["best_learning_rate_high"], RATE)


def test_where_all_networks_diverged_there_is_no_optimum():
    results = transfer_table(("mup2",), diverged=lambda network, rate: network.width == 100)
    result = found(results)
    assert result.table.query("width == 100")["best_learning_rate"].isna().all()
    assert result.shifts["shift"].isna().all()
    assert not any(shift_interval(row, "shift").certain for _, row in result.shifts.iterrows())


def test_the_best_of_those_tried_are_those_of_the_gains_on_the_split_and_epoch_asked_for():
    results = transfer_table()
    order = np.random.default_rng(1)
    for column in ("test_accuracy", "best_valid_accuracy", "best_test_accuracy"):
        results[column] = order.permutation(results["valid_accuracy"])
    design = design_of(results)
    keys = ["parametrization", "width", "method"]
    chosen = []
    for choice in ({}, {"select": "test"}, {"at": "best"}, {"select": "test", "at": "best"}):
        trials = best_settings(results, design, **choice)
        both = found(results, **choice).table.merge(trials, on=keys, suffixes=("", "_chosen"))
        assert len(both) == len(trials) == 12
        assert (both["rho"] == both["rho_chosen"]).all()
        assert (both["learning_rate"] == both["learning_rate_chosen"]).all()
        assert not any(trials.equals(other) for other in chosen)
        chosen.append(trials)


def test_a_missing_network_and_a_second_setting_are_refused():
    results = transfer_table(("mup",))
    with pytest.raises(ValueError, match=r"every learning rate and radius of sgd .* got 39"):
        found(results.drop(index=results.index[results["method"] == "sgd"][0]))
    several = results.assign(weight_decay=np.where(results["seed"] == 0, 0.0, 1.0))
    with pytest.raises(ValueError, match="one value of weight_decay"):
        found(several)


# What transfer costs, and gains at the best --------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["accuracy", "word_error_rate"])
def test_the_cost_is_what_the_small_networks_settings_lose(metric):
    results = transfer_table(metric=metric)
    costs = transfer_costs(results, design_of(results)).set_index(["parametrization", "method", "width"])
    assert (costs.xs(10, level="width")["cost"] == 0).all()
    assert costs.xs(10, level="width")["same"].all()
    for (kind, method, width), row in costs.iterrows():
        rate, radius = optimum(kind, width)
        lost = LOSS_RATE * (
            (np.log2(row["small_learning_rate"]) - rate) ** 2 - (np.log2(row["learning_rate"]) - rate) ** 2
        )
        if method == "sam":
            lost += LOSS_RADIUS * ((np.log2(row["small_rho"]) - radius) ** 2 - (np.log2(row["rho"]) - radius) ** 2)
        assert row["cost"] == pytest.approx(100 * lost, abs=1e-9)
        assert row["seeds"] == 5
    assert costs.loc[("standard", "sgd", 100), "cost"] > 0
    assert costs.loc[("mup2", "sam", 100), "same"]


def test_a_network_that_diverges_with_the_small_networks_settings_leaves_no_finite_cost():
    results = transfer_table(("standard",), diverged=lambda n, rate: n.width == 100 and rate > 0.15 and n.seed == 2)
    costs = transfer_costs(results, design_of(results)).query("width == 100")
    assert costs["cost"].isna().all()
    assert list(costs["diverged"]) == [1, 1]
    assert list(costs["seeds"]) == [5, 5]


def test_gains_are_between_methods_at_their_own_best_learning_rates():
    results = transfer_table(("standard", "mup2"))
    # SGD does well at a learning rate of its own.
    for part in ("valid", "test"):
        results.loc[(results["method"] == "sgd") & (results["learning_rate"] == 0.05), f"{part}_accuracy"] = 0.91
    design = design_of(results)
    best = best_networks(results, design)
    rates = best.groupby("method")["learning_rate"].unique()
    assert list(rates["sgd"]) == [0.05]
    assert 0.05 not in rates["sam"]
    paired = paired_gains(best, over_learning_rates(design))
    assert len(paired) == 2 * 2 * 5
    sam = best[best["method"] == "sam"]
    assert sorted(paired["gain"]) == pytest.approx(sorted(100 * (sam["test_accuracy"] - 0.91)))
    assert paired["gain"].max() < 100 * GAIN
    assert set(RADII) >= set(sam["rho"])
