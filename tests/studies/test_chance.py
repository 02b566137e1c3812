"""Networks that learned nothing are counted, and gains are told without them too."""

import dataclasses
import math

import pandas as pd
import pytest
from report.results_tables import results_table
from studies.described import tables
from together import together

from widebasin.report.page import Answer
from widebasin.statistics.chance import guessed
from widebasin.studies import Options
from widebasin.studies.chance import with_chance
from widebasin.workloads import WORKLOADS

EMPTY = Answer("t", "q", "s", ("before",), (), ())


@together(("chance", "most"), [(0.5, 0.525), (0.1, 0.145), (0.001, 0.0015)])
def test_guessing_ends_a_little_above_chance(chance, most):
    assert guessed(chance) == pytest.approx(most)


def said(train, compares=True, chance: float | None = 0.1, diverged=lambda network: False, **options):
    """What is added to an answer; the gain is 2 points, and that of a network at chance -40."""

    def test(network):
        if diverged(network):
            return math.nan
        if train(network) < 0.2:
            return 0.1
        return 0.5 if network.method == "sgd" else 0.52

    results = results_table(test, lambda n: 0.5 - abs(n.rho - 0.1), rhos=(0.1, 0.2), **options)
    keys = ("width", "method", "rho", "label_noise", "seed")

    class One:
        def __init__(self, row):
            self.__dict__.update({key: row[key] for key in keys})

    results["train_accuracy"] = [train(One(row)) for row in results.to_dict("records")]
    made = tables(results)
    made = dataclasses.replace(made, description=dataclasses.replace(made.description, chance=chance))
    return with_chance(EMPTY, made, Options(), ("final",) if compares else ())


def test_networks_at_chance_are_counted_by_method_and_radius_and_gains_told_without_them():
    answer = said(lambda n: 0.1 if n.width == 10 and n.method == "sam" and n.seed < (1 if n.rho == 0.1 else 2) else 0.6)
    assert answer.findings == (
        "before",
        "3 of 18 networks ended at chance: a training accuracy of at most 14.5%, where guessing reaches 10%; the last "
        "table has them by method and radius.",
        "Gains without the seeds in which a network compared ended so: width 10, SAM, rho 0.1: +2.0 ± 0.0 points over "
        "2 of 3 seeds (with them -12.0 ± 14.0).",
    )
    (table,) = answer.tables
    assert table.rows == (("10", "1,000", "SAM", "0.1", "1 of 3"), ("10", "1,000", "SAM", "0.2", "2 of 3"))


def test_a_baseline_at_chance_counts_as_well_and_settings_are_named():
    answer = said(lambda n: 0.1 if n.method == "sgd" and n.label_noise else 0.6, label_noise=(0.0, 0.2), widths=(10,))
    assert answer.findings[-1].endswith(
        "ended so: width 10, SAM, rho 0.1, label noise 20%: no seed is left (with them +42.0 ± 0.0 points)."
    )
    assert answer.tables[0].rows == (("20%", "10", "1,000", "SGD", "0", "3 of 3"),)


def test_where_all_diverged_or_guess_there_is_no_finite_gain():
    answer = said(lambda n: 0.1 if n.method == "sgd" else 0.6, widths=(10,), diverged=lambda n: n.method == "sam")
    assert answer.findings[-1].endswith("no seed is left (with them no finite gain).")


def test_nothing_is_said_where_none_is_or_chance_is_not_known():
    assert said(lambda n: 0.6) is EMPTY
    assert said(lambda n: 0.1, chance=None) is EMPTY


def test_networks_with_wrong_labels_are_judged_where_classes_are_about_equally_frequent_alone():
    """Of a class with 60% of the labels, noise makes less: what guessing reaches is not known there."""
    assert said(lambda n: 0.1, chance=0.6, label_noise=(0.2,)) is EMPTY
    for options in ({"chance": 0.6}, {"label_noise": (0.2,)}):
        assert "18 of 18 networks ended at chance" in said(lambda n: 0.1, **options).findings[1]


def test_without_a_baseline_they_are_counted_only():
    assert len(said(lambda n: 0.1, compares=False).findings) == 2


def test_workloads_know_what_guessing_reaches():
    labels = WORKLOADS["digits-mlp"].load().targets  # pyright: ignore[reportAttributeAccessIssue]
    assert WORKLOADS["digits-mlp"].chance == pd.Series(labels).value_counts(normalize=True).max()
    assert WORKLOADS["line-mlp"].chance is None
