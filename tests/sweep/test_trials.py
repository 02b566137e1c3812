"""Radii of single methods, and as many trials for the baseline as for every other method."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import together

from widebasin.sweep import Spec, UsageError, resolve
from widebasin.sweep.cells import cells, contains
from widebasin.sweep.rows import rows_of_spec
from widebasin.sweep.spec_file import parse_resolved, spec_toml
from widebasin.sweep.trials import entry_of, own_radii, refined

rates = st.lists(st.integers(1, 10**6), min_size=2, max_size=5, unique=True).map(lambda n: [one / 1e5 for one in n])


@given(rates, st.integers(1, 8))
def test_refined_values_are_as_many_as_asked_within_the_given_ones_and_nested(values, times):
    few, more = refined(values, times), refined(values, times + 1)
    assert set(values) <= set(few) <= set(more)
    assert (min(few), max(few)) == (min(values), max(values))
    assert len(few) <= times * len(values)
    if min(np.diff(np.log(sorted(values)))) > 0.5:  # further apart than three digits can tell
        assert len(few) == times * len(values)


def test_refined_values_halve_the_intervals():
    assert refined((1.0, 100.0), 3) == (1.0, 1.78, 3.16, 10.0, 31.6, 100.0)
    assert refined((0.0, 0.4), 2) == (0.0, 0.1, 0.2, 0.4)


@given(st.sampled_from(["asam", "gsam:alpha=0.4", "looksam:k=3,alpha=0.5"]), rates)
def test_an_entry_is_read_as_it_was_written(method, radii):
    assert own_radii([entry_of(method, radii)]) == {method: tuple(radii)}


TUNED = Spec(
    widths=(4, 8),
    methods=("sgd", "sam", "asam"),
    rhos=(0.05, 0.2),
    radii=("asam=2,0.5,1",),
    learning_rate=(0.03, 0.3),
    weight_decay=(0.0, 1e-3),
    tune=("learning-rate", "weight_decay"),
    seeds=2,
)


def test_the_baseline_has_as_many_trials_as_the_method_that_has_most():
    rows = rows_of_spec(resolve(TUNED)).query("seed == 0 and width == 4")
    assert Counter(rows["method"]) == {"sgd": 12, "sam": 8, "asam": 12}
    assert not rows.duplicated(["method", "rho", "learning_rate", "weight_decay"]).any()
    assert set(rows.query("method == 'asam'")["rho"]) == {0.5, 1.0, 2.0}
    assert rows.query("method == 'sgd'")["learning_rate"].between(0.03, 0.3).all()


def test_rates_to_tune_are_around_that_of_the_workload():
    assert resolve(Spec(tune=("learning_rate",))).learning_rate == (0.03, 0.1, 0.3)


def test_a_tuned_sweep_grows_by_radii_and_is_read_back():
    smaller = resolve(TUNED)
    larger = dataclasses.replace(smaller, rhos=(0.05, 0.1, 0.2, 0.5), radii=("asam=0.5,1,2,5",), seeds=3)
    assert contains(larger, smaller)
    assert not contains(smaller, larger)
    # A rate between the ends moves the baseline's values; the same radii with it are another sweep.
    assert not contains(dataclasses.replace(smaller, learning_rate=(0.03, 0.1, 0.3)), smaller)
    assert parse_resolved(spec_toml(larger), ()) == larger
    assert resolve(Spec(**larger.given())) == larger


def test_methods_with_hyperparameters_are_methods_of_their_own():
    spec = resolve(Spec(widths=(4,), methods=("sgd", "gsam:alpha=.40", "gsam", "looksam:alpha=1,k=3"), rhos=(0.1,)))
    assert spec.methods == ("sgd", "gsam:alpha=0.4", "gsam", "looksam:k=3,alpha=1")
    grid = cells(spec)
    assert [cell.name.removeprefix("digits-mlp-width-4-") for cell in grid] == [
        "sgd", "gsam-alpha-0.4", "gsam", "looksam-k-3-alpha-1",
    ]  # fmt: skip
    assert [float(getattr(cell.with_radius(0.1), "alpha", 0)) for cell in grid] == [0, 0.4, 0.1, 1]


@together(
    "changes, message",
    [
        ({"radii": ("asam",)}, "METHOD=RHO"),
        ({"radii": ("asam=a",)}, "numbers separated by commas"),
        ({"radii": ("asam=-1",)}, "different radii >= 0"),
        ({"radii": ("asam=1", "asam=2")}, "once"),
        ({"radii": ("gsam=1",)}, "must name a method of this sweep, sam, asam; or add gsam to the methods"),
        ({"radii": ("sgd=1",)}, "sgd, which has no radius"),
        ({"tune": ("rate",)}, "Known: .*learning_rate"),
        ({"tune": ("label_noise",)}, "Known: "),
        ({"tune": ("rho",)}, "the radius is always chosen"),
        ({"tune": ("learning_rate", "learning-rate")}, "must name learning_rate once"),
        ({"tune": ("learning_rate",), "learning_rate": (0.1,)}, "give --learning-rate A B"),
        ({"tune": ("weight_decay",), "workload": "line-mlp", "weight_decay": None}, "give --weight-decay A B"),
        ({"methods": ("sgd", "gsam:alfa=1")}, "gsam has no hyperparameter .alfa.; it has alpha=0.1"),
        ({"methods": ("sgd", "gsam:alpha=-1")}, "alpha must be"),
        ({"methods": ("sgd", "gsan:alpha=1")}, "did you mean 'gsam'"),
        ({"methods": ("sgd", "gsam:alpha=1", "gsam:alpha=1.0")}, "must not repeat"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_trained(changes, message):
    with pytest.raises(UsageError, match=message):
        resolve(dataclasses.replace(Spec(methods=("sgd", "sam", "asam")), **changes))
