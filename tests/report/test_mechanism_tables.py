import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from report.results_tables import wording_for

from widebasin.report.mechanism_tables import (
    curvature_table,
    significant,
    verdicts_table,
    with_error,
)
from widebasin.statistics.measurements import means_over_seeds

WORDING = wording_for()
EXPONENTS = st.floats(-9, 9)


def row(mean: float, error: float) -> dict:
    return {"x": mean, "x_error": error}


# Numbers -----------------------------------------------------------------------------------------------------------


@given(st.floats(1, 10, exclude_max=True), st.integers(-12, 12), st.sampled_from([-1, 1]), st.integers(1, 8))
def test_significant_digits_are_as_many_as_asked_for(mantissa, exponent, sign, digits):
    value = sign * mantissa * 10.0**exponent
    shown = significant(value, digits)
    assert abs(float(shown) - value) <= 0.5001 * 10.0 ** (exponent - digits + 1)
    assert len(Decimal(shown).normalize().as_tuple().digits) <= digits


@pytest.mark.parametrize(
    ("value", "text"),
    [(1000.0, "1000"), (3_789.0, "3790"), (249_900.0, "250000"), (2.5e7, "2.5e+07"), (0.001234, "0.00123"), (0.0, "0")],
)
def test_numbers_are_written_out_where_they_are_short(value, text):
    assert significant(value) == text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_has_the_sign_of_none(value):
    assert significant(value) == "—"
    assert with_error(row(value, 1.0), "x") == "—"


@given(st.floats(-1, 1), EXPONENTS, EXPONENTS)
def test_the_error_has_two_significant_digits_and_the_mean_ends_where_it_does(mantissa, exponent, of_error):
    mean, error = mantissa * 10**exponent, 10**of_error
    assume(error > 1e-11 * abs(mean))
    shown_mean, shown_error = map(Decimal, with_error(row(mean, error), "x").split(" ± "))
    # Half a unit of the second digit of the error, which rounding may carry over a power of ten.
    unit = Decimal(10) ** (shown_error.adjusted() - 1)
    assert abs(float(shown_error) / error - 1) <= 0.0501
    assert shown_error == shown_error.quantize(unit)
    assert abs(float(shown_mean) - mean) <= 0.5001 * float(unit)
    assert shown_mean % unit == 0
    text = with_error(row(mean, error), "x").split(" ± ")[1]
    digits = re.sub(r"e.*|\.", "", text).lstrip("0")
    # A whole number may end in zeros.
    assert len(digits) == 2 or (len(digits) > 2 and "." not in text)


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (34.1234, 3.456, "34.1 ± 3.5"),
        (1.000354321, 0.0000663, "1.000354 ± 0.000066"),
        (4.184, 0.9963, "4.2 ± 1.0"),
        (12_345.0, 1_234.0, "12300 ± 1200"),
        (1_234_567.0, 123.0, "1.23457e+06 ± 1.2e+02"),
        (5.0e-4, 2.0e-8, "5.00000e-04 ± 2.0e-08"),
        (4.0e-4, 0.012, "0.000 ± 0.012"),
        (0.0, 2.0e-7, "0e+00 ± 2.0e-07"),
        (-1e-9, 0.1, "0.00 ± 0.10"),
        (0.25, 0.0, "0.25"),
        (0.25, np.nan, "0.25"),
        (0.1, 1e-17, "0.1"),
    ],
)
def test_means_with_errors(mean, error, text):
    assert with_error(row(mean, error), "x") == text


def test_a_mean_without_error_has_the_digits_asked_for():
    assert with_error(row(1.0003541, np.nan), "x", digits=6) == "1.00035"


# Tables ------------------------------------------------------------------------------------------------------------


def judged(stable, moment=lambda seed, rate: 1.0 - seed) -> pd.DataFrame:
    """Verdicts of three seeds of SGD and SAM at two learning rates."""
    return pd.DataFrame(
        [
            {
                "method": method,
                "rho": rho,
                "seed": seed,
                "tested_rho": 0.0,
                "tested_learning_rate": rate,
                "second_moment": moment(seed, rate),
                "stable": stable(method, seed, rate),
                "growth": 2.0 * rate,
            }
            for method, rho in (("sgd", 0.0), ("sam", 0.1))
            for seed in range(3)
            for rate in (0.1, 0.4)
        ]
    )


@pytest.mark.parametrize("dtype", [bool, object])
def test_verdicts_are_counted_by_method_and_learning_rate(dtype):
    table = judged(lambda method, seed, rate: rate == 0.1 if method == "sgd" else seed == 1)
    shown = verdicts_table(table.astype({"stable": dtype}), WORDING, ["method", "rho"])
    assert shown.columns == (
        "method",
        "rho",
        "rho judged",
        "learning rate judged",
        "largest eigenvalue of S",
        "stable",
        "simulated growth per step",
    )
    assert shown.rows == (
        ("SGD", "0", "0", "0.1", "0.00 ± 0.58", "3 of 3", "0.2"),
        ("SGD", "0", "0", "0.4", "0.00 ± 0.58", "0 of 3", "0.8"),
        ("SAM", "0.1", "0", "0.1", "0.00 ± 0.58", "1 of 3", "0.2"),
        ("SAM", "0.1", "0", "0.4", "0.00 ± 0.58", "1 of 3", "0.8"),
    )


@given(st.lists(st.booleans(), min_size=12, max_size=12))
def test_the_counts_of_verdicts_add_up_to_those_of_the_networks(verdicts):
    table = judged(lambda method, seed, rate: False).assign(stable=verdicts)
    counts = [tuple(map(int, row[-2].split(" of "))) for row in verdicts_table(table, WORDING, ["method", "rho"]).rows]
    assert sum(count for count, _ in counts) == sum(verdicts)
    assert [of for _, of in counts] == [3] * 4


def test_one_network_shows_on_which_side_of_1_it_is():
    table = judged(lambda method, seed, rate: True, lambda seed, rate: 1.00035)
    shown = verdicts_table(table[table["seed"] == 0], WORDING, ["method", "rho"])
    assert {row[4] for row in shown.rows} == {"1.00035"}


def test_no_verdicts():
    assert verdicts_table(judged(lambda *_: True).iloc[:0], WORDING, ["method", "rho"]).rows == ()


@pytest.mark.parametrize(("seeds", "cell", "note"), [(2, "2.0 ± 1.0", True), (1, "1", False)])
def test_curvature_has_a_row_per_group_and_a_note_where_there_are_several_seeds(seeds, cell, note):
    table = pd.DataFrame(
        [
            {"method": method, "rho": rho, "seed": seed, "sharpness": 1.0 + 2 * seed, "s2": np.nan}
            for method, rho in (("sgd", 0.0), ("sam", 0.1))
            for seed in range(seeds)
        ]
    )
    means = means_over_seeds(table, ["method", "rho"], ["sharpness", "s2"])
    shown = curvature_table(means, WORDING, ["method", "rho"], {"sharpness": "sharpness", "s2": "non-uniformity"})
    assert shown.columns == ("method", "rho", "networks", "sharpness", "non-uniformity")
    assert shown.rows == (("SGD", "0", str(seeds), cell, "—"), ("SAM", "0.1", str(seeds), cell, "—"))
    assert ("over seeds" in shown.note) == note
