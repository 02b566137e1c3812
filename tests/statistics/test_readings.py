from dataclasses import replace

import numpy as np
import pandas as pd
from report.results_tables import METRICS, design_of, growing, results_table

from widebasin.statistics import ACCURACY, LOSS, Metric
from widebasin.statistics.gains import EPOCHS, SELECTIONS, gain_table
from widebasin.statistics.readings import metrics_in, readings


def test_readings_are_the_gain_tables_of_every_metric_epoch_and_split():
    """Here each choice gives other gains: the best radius and the values differ by split, epoch and metric."""
    results = results_table(
        growing,
        valid=lambda n: -n.rho if n.method == "sam" else 0.0,
        best_test=lambda n: growing(n) + (0.1 if n.method == "sam" else 0.0),
    )
    design = design_of(results)
    found = readings(results, design, (ACCURACY, LOSS))
    assert [(one.metric, one.at, one.select) for one in found] == [
        (metric, at, select) for metric in (ACCURACY, LOSS) for at in EPOCHS for select in SELECTIONS
    ]
    for one in found:
        expected = gain_table(results, replace(design, metric=one.metric), one.select, one.at)
        pd.testing.assert_frame_equal(one.gains, expected)
    assert len({tuple(np.round(one.gains["gain"], 9)) for one in found}) == 8


def test_there_is_no_reading_where_nothing_can_be_paired():
    results = results_table(growing, methods=("sgd", "sam"))
    for alone in ("sgd", "sam"):
        assert readings(results[results["method"] == alone], design_of(results), (ACCURACY,)) == ()
    apart = results[(results["method"] == "sgd") == (results["seed"] == 0)]
    assert readings(apart, design_of(results), (ACCURACY,)) == ()


def test_metrics_of_a_table_are_those_that_it_has_and_the_loss():
    results, own = results_table(growing, metric="episode_return"), METRICS["episode_return"]
    assert metrics_in(results, (own, ACCURACY)) == (own, LOSS)
    # Its values may all be NaN, as a ROC-AUC of one class.
    assert metrics_in(results.assign(best_valid_episode_return=np.nan), (own, ACCURACY)) == (own, LOSS)
    nats = Metric("loss", False, "nats")
    assert metrics_in(results, (nats,)) == (nats,)
    assert metrics_in(results.drop(columns="best_valid_loss"), (own,)) == (own,)
