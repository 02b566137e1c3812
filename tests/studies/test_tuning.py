"""Settings tuned on validation, against choices made by hand from the rows of every network."""

import numpy as np
import pandas as pd
import pytest

import widebasin
from widebasin.studies import STUDIES
from widebasin.sweep import Spec, resolve

GRID = {"widths": (4, 8), "rhos": (0.05, 0.2), "learning_rate": (0.05, 0.2), "seeds": 2, "epochs": 3}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "out"
    return widebasin.study("overparam", out=out, tune="learning_rate", progress=False, **GRID)


def by_hand(every, width, method):
    """The test accuracies at the trial with the best mean validation accuracy, by seed."""
    mine = every[(every["width"] == width) & (every["method"] == method)]
    means = {trial: rows["valid_accuracy"].mean() for trial, rows in mine.groupby(["rho", "learning_rate"])}
    assert len(means) == 4
    rho, rate = max(means, key=lambda trial: means[trial])
    chosen = mine[(mine["rho"] == rho) & (mine["learning_rate"] == rate)].set_index("seed")
    return rho, rate, 100 * chosen["test_accuracy"].astype(float)


def test_gains_are_between_the_best_trials_of_both(tuned):
    every = pd.read_parquet(tuned.folder / "results.parquet")
    for row in tuned.gains.itertuples():
        _, rate_of_sgd, base = by_hand(every, row.width, "sgd")
        rho, rate, values = by_hand(every, row.width, "sam")
        assert row.rho_star == rho
        np.testing.assert_allclose(row.gain, (values - base).mean())
        left = tuned.results[tuned.results["width"] == row.width]
        assert set(left.query("method == 'sgd'")["learning_rate"]) == {rate_of_sgd}
        assert set(left.query("method == 'sam'")["learning_rate"]) == {rate}


def test_the_report_says_what_was_chosen_from_how_many(tuned):
    (table,) = [one for one in tuned.answer.tables if one.title.startswith("Settings chosen")]
    assert table.columns == ("width", "parameters", "method", "learning rate", "rho", "trials")
    assert [row[-1] for row in table.rows] == ["4"] * 4
    assert (
        "learning rate chosen with the radius for every width and method, from up to 4 trials" in tuned.answer.setting
    )


def test_studies_of_settings_may_be_tuned_unless_they_compare_or_measure_what_is_tuned():
    tuned = Spec(tune=("learning_rate",), label_noise=(0.0, 0.2))
    STUDIES["label-noise"].check_grid(resolve(tuned))
    several = Spec(learning_rate=(0.1, 0.2), label_noise=(0.0, 0.2))
    with pytest.raises(widebasin.UsageError, match=r"learning_rate = .*must be one value"):
        STUDIES["label-noise"].check_grid(resolve(several))
    decay = Spec(tune=("weight_decay",), weight_decay=(0.0, 1e-3))
    with pytest.raises(widebasin.UsageError, match=r"tune = .*must leave out weight_decay: the study compares"):
        STUDIES["regularization"].check_grid(resolve(decay))
    with pytest.raises(widebasin.UsageError, match=r"tune = .*must be left out: the study measures"):
        STUDIES["stability"].check_grid(resolve(tuned))


@pytest.mark.slow
def test_a_tuned_sweep_is_compared_with_one_that_is_not(tuned, tmp_path):
    plain = widebasin.study("overparam", out=tmp_path / "plain", progress=False, **GRID | {"learning_rate": 0.1})
    found = widebasin.compare(tuned.folder, plain.folder)
    mine = found.gains[found.gains["sweep"] == found.gains["sweep"].iloc[0]]
    np.testing.assert_allclose(sorted(mine["gain"]), sorted(tuned.gains["gain"]))
    several = widebasin.study("overparam", out=tmp_path / "several", progress=False, **GRID)
    with pytest.raises(widebasin.UsageError, match="several values of learning rate"):
        widebasin.compare(tuned.folder, several.folder)


@pytest.mark.slow
def test_radii_of_a_single_method_are_extended_alone(tmp_path):
    grid = {"widths": (4,), "methods": ("sgd", "sam", "asam"), "rhos": (0.1,), "radii": "asam=0.01,0.02"}
    found = widebasin.study(
        "overparam", out=tmp_path / "out", extend_radii=True, seeds=2, epochs=1, progress=False, **grid
    )
    radii = {method: set(rows["rho"]) for method, rows in found.results.groupby("method")}
    chosen = found.gains.set_index("method")["rho_star"]
    assert {0.01, 0.02} <= radii["asam"]
    for method in ("sam", "asam"):
        assert chosen[method] < max(radii[method]) or max(radii[method]) == 100
