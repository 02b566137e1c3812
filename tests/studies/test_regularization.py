"""Weight decay and early stopping: on tables whose truth is known, and from the command line."""

import numpy as np
import pandas as pd
import pytest
from report.results_tables import results_table
from studies.commands import studied
from studies.described import tables

from widebasin.studies import STUDIES, Options
from widebasin.sweep import Spec, UsageError, resolve

REGULARIZATION = STUDIES["regularization"]
# Gain of SAM per tenfold parameters, in points, for weight decay and epoch; the networks have 1,000 and 100,000.
SLOPES = {(0.0, "final"): -1.0, (0.0, "best"): 1.0, (0.003, "final"): 2.0, (0.003, "best"): 2.5}
# The radius that is best on validation at this epoch.
BEST = {"final": 0.2, "best": 0.05}


def value(decay, at):
    """Of a network: the slope's share, less 10 points at the other radius; a little more with every seed."""

    def test(network):
        if network.method == "sgd":
            return 0.5
        gain = (SLOPES[decay, at] + (0.1 + 1e-4 * SLOPES[decay, at]) * network.seed) * np.log10(network.num_params)
        return 0.5 + gain / 100 - (0.0 if network.rho == BEST[at] else 0.1)

    return test


def table(**options):
    return pd.concat(
        [
            results_table(
                value(decay, "final"), best_test=value(decay, "best"), best_valid=value(decay, "best"), **options
            ).assign(weight_decay=decay)
            for decay in (0.0, 0.003)
        ],
        ignore_index=True,
    )


def answered(results, options=None):
    spec = resolve(Spec(study="regularization", weight_decay=(0.0, 0.003), rhos=(0.05, 0.2), label_noise=(0.0,)))
    return REGULARIZATION.answer(spec, tables(results), options or Options())


def test_both_epochs_are_read_from_their_own_columns_each_with_its_own_radius():
    (found,) = answered(table()).tables
    stopped, radius = found.columns.index("stopped"), found.columns.index("rho*")
    chosen = {(row[stopped], row[radius]) for row in found.rows}
    assert chosen == {("at the last epoch", "0.2"), ("early", "0.05")}
    gains = {(row[0], row[stopped], row[found.columns.index("parameters")]): row[6] for row in found.rows}
    # Mean over seeds 0, 1 and 2: 0.1 points per tenfold parameters more than the slope.
    assert gains == {
        (decay, words, f"{count:,}"): f"{(SLOPES[float(decay), at] + 0.1) * np.log10(count):+.1f} ± {error:.1f}"
        for decay in ("0", "0.003")
        for words, at in (("at the last epoch", "final"), ("early", "best"))
        for count, error in ((1_000, 0.3 / 3**0.5), (100_000, 0.5 / 3**0.5))
    }


def test_the_slopes_change_with_the_weight_decay_and_with_stopping_by_what_they_were_made_to():
    """With a spread over seeds the change has an interval; seed by seed it is nearly the same here."""
    findings = answered(table()).findings
    assert [finding for finding in findings if ", the slope of the gain of SAM changes by " in finding] == [
        f"{where}: from {what}, the slope of the gain of SAM changes by {change:+.1f} points per tenfold parameters "
        f"(95% interval {change:+.1f} to {change:+.1f}): it is higher {faster}."
        for where, what, change, faster in (
            ("Stopped at the last epoch", "weight decay 0 to 0.003", 3.0, "at 0.003"),
            ("Stopped early", "weight decay 0 to 0.003", 1.5, "at 0.003"),
            ("With weight decay 0", "stopped at the last epoch to early", 2.0, "when stopped early"),
            ("With weight decay 0.003", "stopped at the last epoch to early", 0.5, "when stopped early"),
        )
    ]
    text = "\n".join(findings)
    assert "Weight decay 0, stopped at the last epoch: the gain of SAM over SGD shrinks with" in text
    assert "Weight decay 0, stopped early: the gain of SAM over SGD grows with" in text
    assert "The chosen radius is the largest tried (0.2) at 1,000 and 100,000 parameters (" in text
    assert findings[-1].endswith("the gain is on the test split (the epoch in question).")


@pytest.mark.slow
def test_options_choose_the_split_and_not_the_epoch():
    """Early stopping is a part of the question."""
    results = table()
    assert answered(results, Options(at="best")).findings == answered(results).findings
    assert "the paper's protocol" in answered(results, Options(select="test")).findings[-1]


def test_every_setting_and_epoch_has_its_own_picture_by_radius():
    pictures = [picture.name for picture in answered(table()).pictures]
    assert len(set(pictures)) == len(pictures)
    assert pictures[4:] == [
        f"by-radius-weight-decay-{decay}-stopped-{words}"
        for decay in ("0", "0.003")
        for words in ("at-the-last-epoch", "early")
    ]


def test_one_weight_decay_leaves_the_question_of_stopping():
    findings = answered(table()[lambda rows: rows["weight_decay"] == 0.0]).findings
    assert [f for f in findings if "changes by" in f] == [
        "With weight decay 0: from stopped at the last epoch to early, the slope of the gain of SAM changes by +2.0 "
        "points per tenfold parameters (95% interval +2.0 to +2.0): it is higher when stopped early."
    ]


def test_a_network_that_diverged_is_counted_once_though_it_is_read_twice():
    results = table(diverged=lambda network: (network.width, network.seed) == (10, 1))
    # With both weight decays, SGD at seed 1 and SAM at seed 1, whichever radius is chosen.
    assert any(finding.startswith("4 of the networks compared diverged") for finding in answered(results).findings)


def test_the_study_needs_the_baseline():
    with pytest.raises(UsageError, match="sgd"):
        REGULARIZATION.check(resolve(Spec(study="regularization", methods=("sam",))))


@pytest.mark.parametrize("argument", ["label_noise", "learning_rate", "sparsity"])
def test_weight_decays_are_compared_in_one_setting(argument):
    with pytest.raises(UsageError, match=f"{argument} .*must be one value: the study compares weight decays"):
        REGULARIZATION.check(resolve(Spec(study="regularization", **{argument: (0.1, 0.2)})))


@pytest.mark.slow
def test_the_command_answers_for_both_weight_decays_and_epochs(tmp_path):
    page = studied("regularization", tmp_path, "--widths", "3", "5")
    for text in (
        "Stopped early: from weight decay 0 to",
        "With weight decay 0: from stopped at the last epoch to early",
    ):
        assert text in page
    results = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert results["weight_decay"].unique().tolist() == list(REGULARIZATION.spec.weight_decay)
    assert len(results) == 2 * 2 * 2 * 2
