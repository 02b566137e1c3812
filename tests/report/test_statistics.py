import dataclasses
import functools
import math
import operator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report.results_tables import growing, results_table
from scipy import stats

from widebasin.report.statistics import (
    SETTING,
    chosen_radii,
    differences_from,
    distances_to_baseline,
    gain_table,
    geometric_decay,
    means_over_seeds,
    metric_of,
    paired_gains,
    radius_table,
    ratios_to_baseline,
    slope_against_radius,
    slope_difference,
    slope_per_decade,
    slopes_by_seed,
    t_interval,
    varying,
)

# Thousandths: scipy refuses a scale that underflows.
numbers = st.integers(-(10**6), 10**6).map(lambda n: n / 1000)
samples = st.lists(numbers, min_size=2, max_size=8)


def rho_star(results, **options):
    return dict(zip(*chosen_radii(results, **options).query("method != 'sgd'")[["width", "rho"]].T.values, strict=True))


# t_interval --------------------------------------------------------------------------------------------------------


@given(st.lists(numbers, min_size=2, max_size=8, unique=True), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_scipys(values, confidence):
    interval = t_interval(values, confidence)
    low, high = stats.t.interval(confidence, len(values) - 1, np.mean(values), stats.sem(values))
    np.testing.assert_allclose((interval.low, interval.high), (low, high), rtol=1e-9, atol=1e-9)


def test_interval_by_hand():
    interval = t_interval([1.0, 2.0, 3.0])
    # s = 1, n = 3, and the table's 97.5% point of Student's t with 2 degrees of freedom is 4.303.
    assert interval.mean == 2.0
    assert interval.count == 3
    np.testing.assert_allclose(interval.standard_error, 1 / math.sqrt(3))
    np.testing.assert_allclose(interval.high - 2.0, 4.303 / math.sqrt(3), rtol=1e-4)
    np.testing.assert_allclose(2.0 - interval.low, 4.303 / math.sqrt(3), rtol=1e-4)


@given(samples, numbers, st.floats(-5, 5).filter(lambda scale: abs(scale) > 1e-3))
def test_interval_moves_and_scales_with_its_values(values, shift, scale):
    plain = t_interval(values)
    moved = t_interval(scale * np.asarray(values) + shift)
    ends = sorted((scale * plain.low + shift, scale * plain.high + shift))
    np.testing.assert_allclose((moved.low, moved.high), ends, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moved.standard_error, abs(scale) * plain.standard_error, rtol=1e-6, atol=1e-6)


@given(numbers)
def test_one_value_has_a_mean_and_no_interval(value):
    interval = t_interval([value])
    assert interval.mean == value
    assert interval.count == 1
    assert all(math.isnan(v) for v in (interval.standard_error, interval.low, interval.high))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_not_left_out(bad):
    interval = t_interval([1.0, bad, 2.0])
    assert not np.isfinite(interval.mean)
    assert math.isnan(interval.low)
    assert interval.count == 3


def test_interval_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one value"):
        t_interval([])


# metric_of ---------------------------------------------------------------------------------------------------------


def test_accuracy_is_the_metric_where_there_is_one():
    assert metric_of(results_table(growing)).name == "accuracy"
    assert metric_of(results_table(growing, metric="loss")).name == "loss"


def test_directions_and_units_of_metrics():
    accuracy, loss = metric_of(results_table(growing)), metric_of(results_table(growing, metric="loss"))
    assert (accuracy.higher_is_better, accuracy.label, accuracy.gain_unit) == (True, "accuracy (%)", "points")
    assert (loss.higher_is_better, loss.label, loss.gain_unit) == (False, "loss", "")
    assert "percentage points" in accuracy.gain_label
    assert "decrease" in loss.gain_label


# chosen_radii ------------------------------------------------------------------------------------------------------

radii = (0.01, 0.05, 0.2)


def by_radius(values):
    return lambda network: values[radii.index(network.rho)] if network.method != "sgd" else 0.5


def test_takes_the_radius_with_the_best_mean_of_validation():
    # 0.05 wins one seed by far and loses two: only the mean says 0.2.
    scores = {0.01: (0.5, 0.5, 0.5), 0.05: (0.8, 0.4, 0.4), 0.2: (0.6, 0.6, 0.6)}
    results = results_table(
        growing, lambda n: scores[n.rho][n.seed] if n.method != "sgd" else 0.5, rhos=radii, widths=(10,)
    )
    assert rho_star(results) == {10: 0.2}


def test_every_width_has_its_own_radius():
    results = results_table(growing, lambda n: -abs(n.rho - (0.01 if n.width == 10 else 0.2)), rhos=radii)
    assert rho_star(results) == {10: 0.01, 100: 0.2}


def test_of_equal_means_the_smallest_radius():
    assert rho_star(results_table(growing, by_radius((0.6, 0.7, 0.7)), rhos=radii, widths=(10,))) == {10: 0.05}


def test_the_order_of_a_sum_does_not_break_a_tie():
    orders = {0.01: (0.1, 0.2, 0.3), 0.05: (0.3, 0.2, 0.1), 0.2: (0.2, 0.3, 0.1)}
    # Not sum(): from Python 3.12 on it compensates for rounding.
    assert len({functools.reduce(operator.add, values) for values in orders.values()}) > 1
    results = results_table(
        growing, lambda n: orders[n.rho][n.seed] if n.method != "sgd" else 0.5, rhos=radii, widths=(10,)
    )
    assert rho_star(results) == {10: 0.01}


@settings(max_examples=20)
@given(st.permutations(range(18)))
def test_choosing_on_validation_never_looks_at_test_values(order):
    results = results_table(lambda n: hash((n.rho, n.seed, n.width)) % 97 / 97, growing, rhos=radii, methods=("sam",))
    shuffled = results.copy()
    for column in ("test_accuracy", "test_loss", "best_test_accuracy", "best_test_loss", "train_loss"):
        shuffled[column] = results[column].to_numpy()[order]
    pd.testing.assert_frame_equal(chosen_radii(shuffled), chosen_radii(results))


def test_choosing_on_test_looks_at_test_values_only():
    results = results_table(by_radius((0.9, 0.5, 0.5)), by_radius((0.5, 0.5, 0.9)), rhos=radii)
    assert rho_star(results, select="valid") == {10: 0.2, 100: 0.2}
    assert rho_star(results, select="test") == {10: 0.01, 100: 0.01}


@pytest.mark.parametrize("select", ["valid", "test"])
def test_best_epoch_uses_the_columns_of_the_best_epoch(select):
    results = results_table(
        by_radius((0.9, 0.5, 0.5)), rhos=radii, widths=(10,), **{f"best_{select}": by_radius((0.5, 0.9, 0.5))}
    )
    assert rho_star(results, select=select, at="final") == {10: 0.01}
    assert rho_star(results, select=select, at="best") == {10: 0.05}


def test_lower_is_better_for_a_loss():
    assert rho_star(results_table(by_radius((0.9, 0.3, 0.5)), metric="loss", rhos=radii, widths=(10,))) == {10: 0.05}


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_a_radius_with_a_diverged_network_is_not_chosen(metric):
    best = by_radius((0.6, 0.7, 0.99)) if metric == "accuracy" else by_radius((0.4, 0.3, 0.01))
    results = results_table(
        best, metric=metric, rhos=radii, widths=(10,), diverged=lambda n: n.rho == 0.2 and n.seed == 0
    )
    assert rho_star(results) == {10: 0.05}


def test_a_radius_where_a_network_diverged_is_not_chosen_at_its_best_epoch_either():
    results = results_table(by_radius((0.6, 0.7, 0.99)), rhos=radii, widths=(10,))
    results.loc[results.query("rho == 0.2").index[0], "diverged"] = True
    for at in ("final", "best"):
        assert rho_star(results, at=at) == {10: 0.05}


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_where_all_diverged_the_smallest_radius_stands(metric):
    results = results_table(growing, metric=metric, rhos=radii, widths=(10,), diverged=lambda n: True)
    if metric == "loss":
        assert metric_of(results).name == "loss"
    assert rho_star(results) == {10: 0.01}


@pytest.mark.parametrize(("argument", "value"), [("select", "train"), ("at", "last")])
def test_unknown_choices_are_named(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be one of .*got '{value}'"):
        chosen_radii(results_table(growing), **{argument: value})


# paired_gains ------------------------------------------------------------------------------------------------------


def test_gain_is_the_difference_in_points_at_the_chosen_radius():
    paired = paired_gains(results_table(growing, widths=(10,)))
    assert list(paired["rho"]) == [0.2] * 3
    assert list(paired["seed"]) == [0, 1, 2]
    np.testing.assert_allclose(paired["baseline_value"], [50.0, 51.0, 52.0])
    np.testing.assert_allclose(paired["gain"], [6.0, 6.3, 6.6])


def test_a_lower_loss_is_a_gain():
    results = results_table(lambda n: 1.0 if n.method == "sgd" else 0.75, metric="loss", widths=(10,))
    assert list(paired_gains(results)["gain"]) == [0.25] * 3


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_pairs_by_seed_and_not_by_the_order_of_rows(random):
    results = results_table(growing, label_noise=(0.0, 0.4))
    order = list(results.index)
    random.shuffle(order)
    keys = [*SETTING, "method", "seed"]
    shuffled = paired_gains(results.loc[order]).sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(shuffled, paired_gains(results).sort_values(keys, ignore_index=True))


@settings(max_examples=20)
@given(st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3))
def test_what_a_seed_does_to_both_methods_leaves_the_gain_and_its_interval_alone(effects):
    plain = results_table(growing, lambda n: n.rho)
    moved = results_table(lambda n: growing(n) + effects[n.seed], lambda n: n.rho)
    columns = ["gain", "standard_error", "low", "high"]
    np.testing.assert_allclose(gain_table(moved)[columns], gain_table(plain)[columns], atol=1e-9)


def test_pairing_is_what_keeps_the_interval_narrow():
    results = results_table(lambda n: growing(n) + 0.1 * n.seed, widths=(10,))
    row = gain_table(results).iloc[0]
    paired = paired_gains(results)
    unpaired = math.hypot(stats.sem(paired["value"]), stats.sem(paired["baseline_value"]))
    assert row.standard_error < unpaired / 10


def test_every_share_of_wrong_labels_is_its_own_comparison():
    results = results_table(
        lambda n: 0.5 if n.method == "sgd" else 0.5 + n.label_noise * n.rho,
        label_noise=(0.1, 0.4),
        widths=(10,),
    )
    gains = paired_gains(results).groupby("label_noise")["gain"].unique().map(list).to_dict()
    assert {noise: np.round(values, 9).tolist() for noise, values in gains.items()} == {0.1: [2.0], 0.4: [8.0]}


def test_seeds_without_a_partner_are_left_out():
    results = results_table(growing, widths=(10,))
    results = results[~((results["method"] == "sgd") & (results["seed"] == 1))]
    assert list(paired_gains(results)["seed"]) == [0, 2]


@pytest.mark.parametrize("methods", [("sgd",), ("sam",), ("sam", "unnormalized-sam")])
def test_a_gain_needs_baseline_and_method(methods):
    with pytest.raises(ValueError, match="needs the baseline 'sgd' and another method"):
        paired_gains(results_table(growing, methods=methods))


def test_a_gain_needs_a_common_setting():
    results = results_table(growing)
    results.loc[results["method"] == "sgd", "weight_decay"] = 0.5
    with pytest.raises(ValueError, match="nothing to pair"):
        gain_table(results)


# gain_table --------------------------------------------------------------------------------------------------------


def test_gain_table_by_hand():
    test = {"sgd": (0.80, 0.82), "sam": (0.83, 0.87)}
    results = results_table(
        lambda n: test[n.method][n.seed],
        lambda n: n.rho,
        train_loss=lambda n: 0.25 if n.method == "sgd" else n.rho,
        widths=(10,),
        seeds=(0, 1),
    )
    (row,) = gain_table(results).to_dict("records")
    expected = {
        "method": "sam",
        "rho_star": 0.2,
        "width": 10,
        "num_params": 1000,
        "baseline_value": 81.0,
        "value": 85.0,
        "gain": 4.0,
        # Gains 3 and 5: s = sqrt 2, so the error is 1; t_{0.975, 1} = 12.706.
        "standard_error": 1.0,
        "low": 4.0 - 12.7062,
        "high": 4.0 + 12.7062,
        "seeds": 2,
        "baseline_train_loss": 0.25,
        "train_loss": 0.2,
        "baseline_diverged": 0,
        "diverged": 0,
    }
    for column, value in expected.items():
        assert row[column] == (pytest.approx(value, abs=1e-4) if isinstance(value, float) else value), column


def test_gain_table_counts_what_diverged_and_leaves_nothing_out():
    results = results_table(
        lambda n: 0.5 if n.method == "sgd" else 0.4,
        metric="loss",
        rhos=(0.1,),
        diverged=lambda n: n.width == 10 and (n.seed == 0 or (n.method == "sam" and n.seed == 1)),
    )
    small, large = gain_table(results).to_dict("records")
    assert (small["baseline_diverged"], small["diverged"], small["seeds"]) == (1, 2, 3)
    assert all(math.isnan(small[c]) for c in ("baseline_value", "value", "gain", "low", "train_loss"))
    assert (large["baseline_diverged"], large["diverged"]) == (0, 0)
    assert large["gain"] == pytest.approx(0.1)


def test_gain_table_has_a_row_per_setting_and_method():
    results = results_table(growing, methods=("sgd", "sam", "unnormalized-sam"), label_noise=(0.0, 0.4))
    gains = gain_table(results)
    assert not gains.duplicated(["width", "label_noise", "method"]).any()
    assert len(gains) == 2 * 2 * 2
    assert "sgd" not in set(gains["method"])


def test_best_epoch_reports_the_test_value_of_that_epoch():
    results = results_table(growing, best_test=lambda n: growing(n) + (0.1 if n.method == "sam" else 0.0))
    final, best = gain_table(results, at="final"), gain_table(results, at="best")
    np.testing.assert_allclose(best["gain"], final["gain"] + 10.0)


# slopes ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=4))
def test_slope_of_a_straight_line_is_exact(lines):
    paired = pd.DataFrame(
        [
            {"seed": seed, "num_params": 10**k, "gain": start + slope * k}
            for seed, (start, slope) in enumerate(lines)
            for k in (2, 3, 5)
        ]
    )
    slopes = np.array([slope for _, slope in lines])
    np.testing.assert_allclose(slopes_by_seed(paired), slopes, atol=1e-7)
    assert dataclasses.astuple(slope_per_decade(paired)) == pytest.approx(
        dataclasses.astuple(t_interval(slopes)), abs=1e-5
    )


@given(st.lists(numbers, min_size=4, max_size=4))
def test_slope_is_that_of_least_squares(gains):
    counts = np.array([100, 900, 2_000, 70_000])
    x = np.log10(counts) - np.log10(counts).mean()
    paired = pd.DataFrame({"seed": 7, "num_params": counts, "gain": gains})
    np.testing.assert_allclose(slopes_by_seed(paired)[7], x @ gains / (x @ x), rtol=1e-9, atol=1e-9)


def test_seeds_with_a_gain_that_is_not_finite_have_no_slope():
    paired = pd.DataFrame(
        {"seed": [0, 0, 1, 1, 2, 2], "num_params": [10, 100] * 3, "gain": [1.0, 3.0, np.nan, 1.0, 0.0, 4.0]}
    )
    assert dict(slopes_by_seed(paired)) == pytest.approx({0: 2.0, 2: 4.0})
    assert slope_per_decade(paired).mean == pytest.approx(3.0)
    assert slope_per_decade(paired[paired["seed"] == 1]) is None


def test_one_width_has_no_slope():
    assert slope_per_decade(paired_gains(results_table(growing, widths=(10,)))) is None


def test_slope_difference_is_paired_by_seed():
    slopes, other = {0: 1.0, 1: 2.0, 2: 9.0}, {2: 9.5, 1: 2.5, 0: 1.5, 3: 100.0}
    tables = [
        pd.DataFrame([{"seed": s, "num_params": 10**k, "gain": slope * k} for s, slope in of.items() for k in (1, 2)])
        for of in (slopes, other)
    ]
    difference = slope_difference(*tables)
    assert (difference.mean, difference.count) == (pytest.approx(0.5), 3)
    assert difference.standard_error == pytest.approx(0.0, abs=1e-9)
    assert slope_difference(tables[0], tables[1][tables[1]["seed"] == 3]) is None


# radius_table, varying ---------------------------------------------------------------------------------------------


def test_radius_table_has_mean_and_error_at_every_radius():
    results = results_table(lambda n: n.rho + 0.1 * n.seed, widths=(10,))
    table = radius_table(results).set_index(["method", "rho"])
    assert len(table) == 3
    for key in (("sgd", 0.0), ("sam", 0.05), ("sam", 0.2)):
        values = 100 * (key[1] + 0.1 * np.arange(3))
        assert table.loc[key, "value"] == pytest.approx(values.mean())
        assert table.loc[key, "standard_error"] == pytest.approx(stats.sem(values))
        assert table.loc[key, "seeds"] == 3


def test_radius_table_shows_no_mean_of_survivors():
    table = radius_table(results_table(growing, metric="loss", diverged=lambda n: n.rho == 0.2 and n.seed == 1))
    assert table.loc[table["rho"] == 0.2, "value"].isna().all()
    assert table.loc[table["rho"] != 0.2, "value"].notna().all()


def test_radius_table_of_the_best_epoch():
    results = results_table(lambda n: 0.1, best_test=lambda n: 0.3)
    np.testing.assert_allclose(radius_table(results)["value"], 10.0)
    np.testing.assert_allclose(radius_table(results, "best")["value"], 30.0)


def test_varying_names_what_tells_series_apart():
    assert varying(results_table(growing, widths=(10, 100))) == []
    results = results_table(growing, label_noise=(0.0, 0.2))
    assert varying(results) == ["label_noise"]
    assert varying(results.assign(weight_decay=results["seed"] * 1e-4)) == ["label_noise", "weight_decay"]


def test_differences_from_a_method_are_paired_by_seed():
    values = {"sgd": (0.5, 0.6, 0.7), "sam": (0.6, 0.8, 0.8), "looksam": (0.7, 0.8, 0.95)}
    results = results_table(lambda n: values[n.method][n.seed], widths=(10,), rhos=(0.1,), methods=tuple(values))
    differences = differences_from(paired_gains(results), "sam")
    assert set(differences) == {"looksam"}
    expected = t_interval([10.0, 0.0, 15.0])
    for name in ("mean", "standard_error", "low", "high"):
        np.testing.assert_allclose(getattr(differences["looksam"], name), getattr(expected, name), rtol=1e-9)
    assert differences_from(paired_gains(results), "asam") == {}


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
    ratios = ratios_to_baseline(none, ["sharpness", "train_loss"])
    assert len(ratios) == 0
    assert list(ratios.columns) == list(
        ratios_to_baseline(measured(lambda n: 1.0), ["sharpness", "train_loss"]).columns
    )


# ratios_to_baseline ------------------------------------------------------------------------------------------------

logs = st.lists(st.floats(-3, 3), min_size=3, max_size=3)


def ratio(table, **where) -> dict:
    rows = ratios_to_baseline(table, ["sharpness"])
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
    row = ratio(table, rho=0.05)
    np.testing.assert_allclose([row[f"sharpness{end}"] for end in ("", "_low", "_high")], expected, rtol=1e-6)
    assert row["pairs"] == 3


@given(st.lists(st.integers(-20, 20), min_size=3, max_size=3), logs)
def test_a_factor_of_a_seed_cancels_exactly(exponents, of_method):
    """Powers of two, which floating point multiplies and divides by without rounding."""

    def value(network):
        return np.exp(of_method[network.seed]) if network.method == "sam" else 1.0 + network.seed

    plain = ratios_to_baseline(measured(value), ["sharpness"])
    moved = ratios_to_baseline(measured(lambda n: value(n) * 2.0 ** exponents[n.seed]), ["sharpness"])
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
    ratios = ratios_to_baseline(table, ["sharpness"])
    assert len(ratios) == 2 * 2 * 2
    np.testing.assert_allclose(ratios["sharpness"], 1 + ratios["rho"])
    one_seed = ratios_to_baseline(table[table["seed"] == 0], ["sharpness"])
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
    distances = distances_to_baseline(vectors(), relative)
    assert list(zip(distances["method"], distances["seed"], strict=True)) == [("sam", 0), ("sam", 1)]
    np.testing.assert_allclose(distances["distance"], expected, rtol=1e-12)


@settings(max_examples=20)
@given(st.permutations(range(16)))
def test_distances_go_by_setting_seed_and_position_and_not_by_the_order_of_rows(order):
    table = vectors(widths=(10, 100))
    moved = table.assign(value=table["value"] + 100 * table["width"])
    keys = ["width", "seed"]
    shuffled = distances_to_baseline(moved.iloc[order], relative=False).sort_values(keys, ignore_index=True)
    plain = distances_to_baseline(table, relative=False).sort_values(keys, ignore_index=True)
    np.testing.assert_allclose(shuffled["distance"], plain["distance"], rtol=1e-9)
    assert list(shuffled["distance"].round(9)) == list(np.round([3 / 2**0.5, 10 / 2**0.5] * 2, 9))


def test_no_distances_without_a_partner():
    table = vectors()
    alone = distances_to_baseline(table[table["method"] == "sam"], relative=True)
    assert (len(alone), "distance" in alone) == (0, True)
    one = distances_to_baseline(table[~((table["method"] == "sgd") & (table["seed"] == 0))], relative=True)
    assert list(one["seed"]) == [1]


# slope_against_radius ----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-2, 2)), min_size=3, max_size=3))
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


# geometric_decay ---------------------------------------------------------------------------------------------------


@given(st.floats(0.5, 1.5), st.floats(-5, 5), st.integers(6, 40), st.integers(1, 500))
def test_a_geometric_sequence_gives_its_factor(factor, log_start, count, spacing):
    times = spacing * np.arange(1, count + 1)
    decay = geometric_decay(times, np.exp(log_start + np.log(factor) * times / spacing), floor=0.0)
    np.testing.assert_allclose(decay.factor, factor ** (1 / spacing), rtol=1e-9)
    assert decay.r_squared == pytest.approx(1.0, abs=1e-6) or abs(factor - 1) < 1e-6
    assert (decay.first, decay.last) == (times[count // 2], times[-1])


@pytest.mark.parametrize("loss", [1.0, 0.1, 0.017])
@pytest.mark.parametrize("count", [6, 19, 26])
def test_a_loss_that_stays_is_a_straight_line(loss, count):
    decay = geometric_decay(np.arange(count), np.full(count, loss), floor=0.0)
    assert decay.factor == pytest.approx(1.0, abs=1e-12)
    assert decay.r_squared == 1.0


def test_the_first_half_is_left_out():
    times = np.arange(20)
    losses = np.where(times < 10, 0.3**times, 0.3**10 * 0.9 ** (times - 10))
    decay = geometric_decay(times, losses, floor=0.0)
    assert decay.factor == pytest.approx(0.9)
    assert decay.r_squared == pytest.approx(1.0)
    assert (decay.first, decay.last) == (10, 19)


@pytest.mark.parametrize("after", [1e-12, 1e-10, np.nan, np.inf, -np.inf, -1.0])
def test_the_fit_ends_before_the_floor_and_before_what_is_not_finite(after):
    """Once below, what comes above the floor again is left out too."""
    losses = np.concatenate([0.5 ** np.arange(20), [after], 10.0 ** np.arange(5)])
    decay = geometric_decay(np.arange(26), losses, floor=1e-10)
    assert decay.factor == pytest.approx(0.5)
    assert (decay.first, decay.last) == (10, 19)


@pytest.mark.parametrize("losses", [[], [1.0], [1.0] * 4, [np.nan] * 9, [0.0] * 9, [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]])
def test_fewer_than_three_losses_have_no_decay(losses):
    decay = geometric_decay(np.arange(len(losses)), losses, floor=1e-10)
    assert all(math.isnan(value) for value in dataclasses.astuple(decay))


def test_a_floor_that_is_no_number_leaves_nothing():
    assert math.isnan(geometric_decay(np.arange(9), np.full(9, np.nan), floor=float("nan")).factor)


def test_r_squared_is_the_squared_correlation():
    generator = np.random.default_rng(0)
    times, logarithms = np.arange(40), -0.1 * np.arange(40) + generator.standard_normal(40)
    decay = geometric_decay(times, np.exp(logarithms), floor=0.0)
    line = stats.linregress(times[20:], logarithms[20:])
    assert decay.r_squared == pytest.approx(line.rvalue**2)
    assert decay.factor == pytest.approx(np.exp(line.slope))


@given(factor=st.floats(0.9, 0.999), power=st.floats(0.5, 5.0))
def test_a_power_law_is_not_taken_for_linear_convergence(factor, power):
    times = np.arange(1, 401)
    geometric = geometric_decay(times, factor**times, floor=0.0)
    sublinear = geometric_decay(times, times**-power, floor=0.0)
    assert geometric.is_linear
    assert sublinear.r_squared > 0.98  # over a factor of two in time it looks straight
    assert sublinear.power_r_squared == pytest.approx(1.0)
    assert not sublinear.is_linear
