"""Chosen radii and gains paired by seed."""

import dataclasses
import functools
import math
import operator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report.results_tables import (
    METRICS,
    SETTING,
    design_of,
    gains_of,
    growing,
    paired_of,
    radii_chosen,
    radii_of,
    results_table,
)
from scipy import stats
from together import together

from widebasin.statistics.chance import at_chance
from widebasin.statistics.design import COLUMNS, PREFIXES, SIZE
from widebasin.statistics.gains import differences_from, gain_table, radii_beyond, unjudged
from widebasin.statistics.intervals import t_interval


def rho_star(results, **options):
    return dict(zip(*radii_chosen(results, **options).query("method != 'sgd'")[["width", "rho"]].T.values, strict=True))


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


def test_a_seed_without_a_metric_on_validation_has_no_part_in_the_choice():
    """As of average precision where validation has one class only; a network that has none alone is the worst."""

    def valid(network):
        if network.seed == 0 or (network.rho == 0.05 and network.seed == 1):
            return np.nan
        return 0.5 + 0.1 * (network.rho == 0.2) + 0.2 * (network.rho == 0.05)

    table = results_table(lambda n: 0.5, valid, widths=(10,), rhos=(0.01, 0.05, 0.2), seeds=(0, 1, 2))
    design = design_of(table)
    assert rho_star(table) == {10: 0.2}
    assert set(table.loc[unjudged(table, design, "valid", "final"), "seed"]) == {0}
    assert paired_of(table)["seed"].tolist() == [0, 1, 2]
    nothing = results_table(lambda n: 0.5, lambda n: np.nan, widths=(10,), rhos=(0.01, 0.05, 0.2))
    assert rho_star(nothing) == {10: 0.01}
    assert unjudged(nothing, design, "valid", "final").all()
    beyond = table.assign(diverged=(table["seed"] == 0) & (table["rho"] == 0.2))
    assert rho_star(beyond) == {10: 0.01}
    untested = results_table(lambda n: np.nan if n.seed == 1 else 0.5 + 0.1 * n.rho, widths=(10,), seeds=(0, 1, 2))
    assert paired_of(untested)["seed"].tolist() == [0, 2]
    assert gains_of(untested)[["seeds", "gain"]].to_numpy().tolist() == [[2, pytest.approx(2.0)]]
    assert set(radii_of(untested)["seeds"]) == {2}
    gone = results_table(lambda n: 0.5, diverged=lambda n: n.seed == 0, widths=(10,))
    assert not unjudged(gone, design, "valid", "final").any()


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
    pd.testing.assert_frame_equal(radii_chosen(shuffled), radii_chosen(results))


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


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("at", ["final", "best"])
def test_whatever_metric_judges_chooses_the_radius_and_is_the_gain(name, at):
    """Best is radius 0.05; the loss that is recorded besides says otherwise of metrics that are neither."""
    metric = METRICS[name]
    score = {0.01: 0.5, 0.05: 0.7, 0.2: 0.4}
    better = lambda n: metric.sign * (0.3 if n.method == "sgd" else score[n.rho])  # noqa: E731
    other = {} if at == "final" else {"best_valid": better, "best_test": better}
    results = results_table(better if at == "final" else lambda n: -better(n), metric=name, rhos=radii, **other)
    assert rho_star(results, at=at) == {10: 0.05, 100: 0.05}
    np.testing.assert_allclose(paired_of(results, at=at)["gain"], 0.4 * metric.scale)
    np.testing.assert_allclose(gains_of(results, at=at)["value"], metric.sign * 0.7 * metric.scale)
    assert radii_of(results, at=at)["value"].abs().max() == pytest.approx(0.7 * metric.scale)


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
    assert rho_star(results) == {10: 0.01}


@pytest.mark.parametrize(("argument", "value"), [("select", "train"), ("at", "last")])
def test_unknown_choices_are_named(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be one of .*got '{value}'"):
        radii_chosen(results_table(growing), **{argument: value})


# paired_gains ------------------------------------------------------------------------------------------------------


def test_gain_is_the_difference_in_points_at_the_chosen_radius():
    paired = paired_of(results_table(growing, widths=(10,)))
    assert list(paired["rho"]) == [0.2] * 3
    assert list(paired["seed"]) == [0, 1, 2]
    np.testing.assert_allclose(paired["baseline_value"], [50.0, 51.0, 52.0])
    np.testing.assert_allclose(paired["gain"], [6.0, 6.3, 6.6])


def test_a_lower_loss_is_a_gain():
    results = results_table(lambda n: 1.0 if n.method == "sgd" else 0.75, metric="loss", widths=(10,))
    assert list(paired_of(results)["gain"]) == [0.25] * 3


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_pairs_by_seed_and_not_by_the_order_of_rows(random):
    results = results_table(growing, label_noise=(0.0, 0.4))
    order = list(results.index)
    random.shuffle(order)
    keys = [*SETTING, "method", "seed"]
    shuffled = paired_of(results.loc[order]).sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(shuffled, paired_of(results).sort_values(keys, ignore_index=True))


@pytest.mark.slow
@settings(max_examples=20)
@given(st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3))
def test_what_a_seed_does_to_both_methods_leaves_the_gain_and_its_interval_alone(effects):
    plain = results_table(growing, lambda n: n.rho)
    moved = results_table(lambda n: growing(n) + effects[n.seed], lambda n: n.rho)
    columns = ["gain", "standard_error", "low", "high"]
    np.testing.assert_allclose(gains_of(moved)[columns], gains_of(plain)[columns], atol=1e-9)


def test_pairing_is_what_keeps_the_interval_narrow():
    results = results_table(lambda n: growing(n) + 0.1 * n.seed, widths=(10,))
    row = gains_of(results).iloc[0]
    paired = paired_of(results)
    unpaired = math.hypot(stats.sem(paired["value"]), stats.sem(paired["baseline_value"]))
    assert row.standard_error < unpaired / 10


def test_every_share_of_wrong_labels_is_its_own_comparison():
    results = results_table(
        lambda n: 0.5 if n.method == "sgd" else 0.5 + n.label_noise * n.rho,
        label_noise=(0.1, 0.4),
        widths=(10,),
    )
    gains = paired_of(results).groupby("label_noise")["gain"].unique().map(list).to_dict()
    assert {noise: np.round(values, 9).tolist() for noise, values in gains.items()} == {0.1: [2.0], 0.4: [8.0]}


def test_seeds_without_a_partner_are_left_out():
    results = results_table(growing, widths=(10,))
    results = results[~((results["method"] == "sgd") & (results["seed"] == 1))]
    assert list(paired_of(results)["seed"]) == [0, 2]


@pytest.mark.parametrize("methods", [("sgd",), ("sam",), ("sam", "unnormalized-sam")])
def test_a_gain_needs_baseline_and_method(methods):
    with pytest.raises(ValueError, match="needs the baseline 'sgd' and another method"):
        paired_of(results_table(growing, methods=methods))


def test_a_gain_needs_a_common_setting():
    results = results_table(growing)
    results.loc[results["method"] == "sgd", "weight_decay"] = 0.5
    with pytest.raises(ValueError, match="nothing to pair"):
        gains_of(results)


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
    (row,) = gains_of(results).to_dict("records")
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
    small, large = gains_of(results).to_dict("records")
    assert (small["baseline_diverged"], small["diverged"], small["seeds"]) == (1, 2, 3)
    assert all(math.isnan(small[c]) for c in ("baseline_value", "value", "gain", "low", "train_loss"))
    assert (large["baseline_diverged"], large["diverged"]) == (0, 0)
    assert large["gain"] == pytest.approx(0.1)


def test_gain_table_has_a_row_per_setting_and_method():
    results = results_table(growing, methods=("sgd", "sam", "unnormalized-sam"), label_noise=(0.0, 0.4))
    gains = gains_of(results)
    assert not gains.duplicated(["width", "label_noise", "method"]).any()
    assert len(gains) == 2 * 2 * 2
    assert "sgd" not in set(gains["method"])


def test_best_epoch_reports_the_test_value_of_that_epoch():
    results = results_table(growing, best_test=lambda n: growing(n) + (0.1 if n.method == "sam" else 0.0))
    final, best = gains_of(results, at="final"), gains_of(results, at="best")
    np.testing.assert_allclose(best["gain"], final["gain"] + 10.0)


# radius_table ------------------------------------------------------------------------------------------------------


def test_every_column_that_is_no_setting_is_known_as_taken():
    results = results_table(growing, widths=(10, 100))
    design = design_of(results)
    tables = (results, gains_of(results), paired_of(results), radii_of(results))
    columns = {column for table in tables for column in table if column not in design.setting}
    assert {column for column in columns if not column.startswith(PREFIXES)} <= COLUMNS
    assert not {column for column in design.setting if column not in ("workload", *SIZE)} & COLUMNS


def test_radius_table_has_mean_and_error_at_every_radius():
    results = results_table(lambda n: n.rho + 0.1 * n.seed, widths=(10,))
    table = radii_of(results).set_index(["method", "rho"])
    assert len(table) == 3
    for key in (("sgd", 0.0), ("sam", 0.05), ("sam", 0.2)):
        values = 100 * (key[1] + 0.1 * np.arange(3))
        assert table.loc[key, "value"] == pytest.approx(values.mean())
        assert table.loc[key, "standard_error"] == pytest.approx(stats.sem(values))
        ends = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
        assert tuple(table.loc[key, ["low", "high"]]) == pytest.approx(ends)
        assert tuple(table.loc[key, ["seeds", "diverged"]]) == (3, 0)


def test_radius_table_shows_no_mean_of_survivors():
    table = radii_of(results_table(growing, metric="loss", diverged=lambda n: n.rho == 0.2 and n.seed == 1))
    assert table.loc[table["rho"] == 0.2, "value"].isna().all()
    assert (table["diverged"] == (table["rho"] == 0.2)).all()
    assert table.loc[table["rho"] != 0.2, "value"].notna().all()


def test_radius_table_of_the_best_epoch():
    results = results_table(lambda n: 0.1, best_test=lambda n: 0.3)
    np.testing.assert_allclose(radii_of(results)["value"], 10.0)
    np.testing.assert_allclose(radii_of(results, at="best")["value"], 30.0)


def test_differences_from_a_method_are_paired_by_seed():
    values = {"sgd": (0.5, 0.6, 0.7), "sam": (0.6, 0.8, 0.8), "looksam": (0.7, 0.8, 0.95)}
    results = results_table(lambda n: values[n.method][n.seed], widths=(10,), rhos=(0.1,), methods=tuple(values))
    differences = differences_from(paired_of(results), "sam")
    assert set(differences) == {"looksam"}
    expected = t_interval([10.0, 0.0, 15.0])
    for name in ("mean", "standard_error", "low", "high"):
        np.testing.assert_allclose(getattr(differences["looksam"], name), getattr(expected, name), rtol=1e-9)
    assert differences_from(paired_of(results), "asam") == {}
    # None is left out: with a network that diverged there is no difference.
    gone = results.assign(
        test_accuracy=results["test_accuracy"].mask((results["method"] == "looksam") & (results["seed"] == 1))
    )
    assert np.isnan(differences_from(paired_of(gone), "sam")["looksam"].mean)


def test_a_network_that_is_there_twice_is_refused():
    results = results_table(growing)
    twice = pd.concat([results, results.assign(epochs=4)], ignore_index=True)
    for read in (gains_of, paired_of, radii_chosen, radii_of):
        with pytest.raises(ValueError, match=r"every network once, but 18 rows repeat one \(width 10, method sgd"):
            read(twice)
    with pytest.raises(ValueError, match="every network once"):
        at_chance(twice, design_of(results), 0.1)
    paired = paired_of(results)
    with pytest.raises(ValueError, match="every network once"):
        differences_from(pd.concat([paired, paired]), "sam")
    by_epochs = dataclasses.replace(design_of(results), setting=(*SETTING, "epochs"))
    pd.testing.assert_frame_equal(
        gain_table(twice, by_epochs).query("epochs == 2")[gains_of(results).columns].reset_index(drop=True),
        gains_of(results),
    )


@together(
    "chosen, gain, radii, further",
    [
        (0.5, 1.0, (0.05, 0.5), [1.0]),
        (0.2, 1.0, (0.05, 0.2), [0.5]),
        (0.1, 1.0, (0.05, 0.1), [0.2]),
        (0.15, -1.0, (0.05, 0.15), [0.2]),
        (0.05, -1.0, (0.05, 0.5), [0.02]),
        (0.1, -1.0, (0.1,), [0.05, 0.2]),
        (0.01, -1.0, (0.01, 0.5), [0.005]),
        (0.05, 1.0, (0.05, 0.5), []),
        (0.1, -1.0, (0.05, 0.1, 0.5), []),
        (0.0, -1.0, (0.0, 0.5), []),
        (100.0, 1.0, (1.0, 100.0), [200.0]),
    ],
)
def test_radii_go_on_beyond_the_edge_at_which_one_was_chosen(chosen, gain, radii, further):
    gains = pd.DataFrame({"rho_star": [chosen], "gain": [gain]})
    assert radii_beyond(gains, radii) == pytest.approx(further)
