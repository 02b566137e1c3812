import io
import json

import numpy as np
import pandas as pd
import pytest
from report.results_tables import METRICS, growing, results_table, wording_for

from widebasin.report.gain_files import COLUMNS, gain_files
from widebasin.statistics import ACCURACY, LOSS
from widebasin.statistics.gains import EPOCHS, SELECTIONS, gain_table
from widebasin.statistics.readings import readings

NAMES = 'S&A_M %$#{}~^\\ "q" <b>'
NUMBERS = ["baseline_value", "value", "gain", "standard_error", "low", "high", "baseline_train_loss", "train_loss"]


def made_up(**options) -> pd.DataFrame:
    return results_table(growing, valid=lambda n: -n.rho, **options)


def files(results, select="valid", at="final", metric="accuracy", **titles) -> dict[str, bytes]:
    wording = wording_for(metric, **titles)
    return gain_files(readings(results, wording.design, (wording.metric, LOSS)), wording, select, (at,))


def test_csv_has_every_reading_with_all_digits_and_its_units():
    results = made_up(methods=("sgd", "sam", "asam"), label_noise=(0.0, 0.2))
    table = pd.read_csv(io.BytesIO(files(results)["gains.csv"]), keep_default_na=False)
    design = wording_for().design
    for metric in (ACCURACY, LOSS):
        for at in EPOCHS:
            for select in SELECTIONS:
                mine = table[(table["metric"] == metric.name) & (table["at"] == at) & (table["select"] == select)]
                expected = gain_table(results, wording_for(metric).design, select, at)
                pd.testing.assert_frame_equal(mine[list(expected)].reset_index(drop=True), expected, rtol=1e-14)
    reported = table[table["in_report"]]
    np.testing.assert_allclose(reported["gain"], gain_table(results, design)["gain"], rtol=1e-14)
    assert set(zip(table["metric"], table["unit"], table["gain_unit"], strict=True)) == {
        ("accuracy", "%", "percentage points"),
        ("loss", "", ""),
    }


def test_of_several_epochs_in_the_report_each_has_a_table_and_of_none_there_is_no_file():
    results, wording = made_up(), wording_for()
    every = readings(results, wording.design, (wording.metric, LOSS))
    both, none = gain_files(every, wording, "valid", EPOCHS), gain_files(every, wording, "valid", ())
    assert [line for line in both["gains.tex"].decode().splitlines() if "label" in line] == [
        rf"\label{{tab:gains-{at}}}" for at in EPOCHS
    ]
    reported = pd.read_csv(io.BytesIO(both["gains.csv"])).query("in_report")
    assert set(zip(reported["metric"], reported["select"], reported["at"], strict=True)) == {
        ("accuracy", "valid", at) for at in EPOCHS
    }
    assert set(none) == {"gains.csv", "gains.json"}
    assert not pd.read_csv(io.BytesIO(none["gains.csv"]))["in_report"].any()


def test_json_has_the_same_rows_and_says_what_the_columns_are():
    results = made_up(diverged=lambda n: n.width == 10 and n.method == "sam")
    found = files(results, select="test", at="best")
    record = json.loads(found["gains.json"], parse_constant=lambda name: pytest.fail(name))
    table = pd.read_csv(io.BytesIO(found["gains.csv"]))
    rows = pd.DataFrame(record["rows"])
    pd.testing.assert_frame_equal(
        rows.assign(**rows[NUMBERS].astype(float)), table.fillna({"unit": "", "gain_unit": ""})
    )
    assert [row["gain"] for row in record["rows"] if row["width"] == 10] == [None] * 8
    assert (record["baseline"], record["confidence"]) == ("SGD", 0.95)
    assert set(record["columns"]) <= set(rows)
    assert set(NUMBERS) <= set(COLUMNS)
    assert {(row["select"], row["at"]) for row in record["rows"] if row["in_report"]} == {("test", "best")}


def test_latex_is_a_table_of_the_reported_reading():
    results = made_up(widths=(10, 100))
    lines = files(results)["gains.tex"].decode().splitlines()
    gains = gain_table(results, wording_for().design)
    assert r"\toprule" in lines
    assert (
        r"width & parameters & SGD (\%) & SAM (\%) & gain $\pm$ s.e. (points) & 95\% interval & $\rho^*$ & $n$ \\"
        in lines
    )
    first, second = gains.to_dict("records")
    for row in (first, second):
        line = (
            f"{row['width']} & {row['num_params']:,} & ${row['baseline_value']:.1f}$ & ${row['value']:.1f}$ & "
            f"${row['gain']:+.1f} \\pm {row['standard_error']:.1f}$ & ${row['low']:.1f}$ to ${row['high']:.1f}$ & "
            f"0.05 & 3 \\\\"
        )
        assert line in lines
    (caption,) = (line for line in lines if line.startswith(r"\caption"))
    assert "validation split; final epoch" in caption
    (caption,) = (line for line in files(results, "test")["gains.tex"].decode().splitlines() if "caption" in line)
    assert "optimistic" in caption


def test_latex_escapes_names_and_marks_what_is_missing():
    results = made_up(methods=("sgd", "sam", "asam"), seeds=(0,), diverged=lambda n: n.method == "asam")
    text = files(results, sam=NAMES)["gains.tex"].decode()
    escaped = r"S\&A\_M \%\$\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{} ''q'' \textless{}b\textgreater{}"
    assert f"& {escaped} &" in text
    assert "one seed, no interval" in text
    assert "Without a gain" in text
    assert "& --- & --- & --- & 0.05 & 1" in text


def test_text_from_outside_commands_nothing():
    results = made_up().assign(pruner="a\x1b[31m\u202e")
    for name, content in files(results).items():
        assert not {"\x1b", "\u202e"} & set(content.decode()), name


def test_another_metric_has_its_own_unit():
    own = METRICS["episode_return"]
    results = results_table(growing, metric=own.name)
    found = files(results, metric=own.name)
    table = pd.read_csv(io.BytesIO(found["gains.csv"]), keep_default_na=False)
    assert set(table.loc[table["in_report"], "gain_unit"]) == {"points"}
    assert "SAM (points)" in found["gains.tex"].decode()
