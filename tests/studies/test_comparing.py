"""Sweeps side by side: gains of each, differences paired by seed."""

import dataclasses

import numpy as np
import pytest
from report.results_tables import growing, results_table
from studies.described import description, folder_of

from widebasin.statistics.intervals import t_interval
from widebasin.studies.comparing import compare, labels_of
from widebasin.studies.study import Options
from widebasin.sweep import Spec, SweepError, UsageError
from widebasin.sweep.description import AxisFacts

SPEC = Spec(
    study="overparam", epochs=2, widths=(10, 100), rhos=(0.05, 0.2), seeds=3, label_noise=(0.0,), weight_decay=(1e-4,)
)
RESULTS = results_table(growing)
SHIFTS = {10: np.array([1.0, 2.0, 4.0]), 100: np.array([3.0, 3.0, 9.0])}


def better(results):
    """The same results, where SAM's accuracy is higher by so many points, width by width and seed by seed."""
    shift = [SHIFTS[row.width][row.seed] / 100 if row.method == "sam" else 0.0 for row in results.itertuples()]
    return results.assign(**{name: results[name] + shift for name in ("test_accuracy", "valid_accuracy")})


@pytest.fixture
def folders(tmp_path):
    one = folder_of(tmp_path / "one", SPEC, RESULTS)
    return one, folder_of(tmp_path / "other", SPEC, better(RESULTS))


def test_differences_are_paired_by_seed(folders):
    found = compare(folders, Options())
    answer, tables, differences = found.answer, found.tables, found.differences
    assert set(tables.results["sweep"]) == {"one", "other"}
    assert differences["sweep"].tolist() == ["other", "other"]
    for row, width in zip(differences.to_dict("records"), (10, 100), strict=True):
        expected = t_interval(SHIFTS[width])
        found = (row["difference"], row["low"], row["high"], row["seeds"])
        assert found == pytest.approx((expected.mean, expected.low, expected.high, 3))
    # From 1,000 to 100,000 parameters the gain of every seed rises by so much more.
    slope = t_interval((SHIFTS[100] - SHIFTS[10]) / 2)
    (sentence,) = [finding for finding in answer.findings if "in other less that in one" in finding]
    assert f"{slope.mean:+.1f} points per tenfold parameters" in sentence
    assert f"{slope.low:+.1f} to {slope.high:+.1f}" in sentence
    assert [table.title for table in answer.tables][1] == "How much larger the gain is than in one"
    assert len(answer.tables[0].rows) == 4


def test_seeds_in_common_count_alone(folders, tmp_path):
    fewer = dataclasses.replace(SPEC, seeds=2, first_seed=1)
    third = folder_of(tmp_path / "third", fewer, better(RESULTS).query("seed > 0"))
    differences = compare((folders[0], third), Options()).differences
    assert differences["seeds"].tolist() == [2, 2]
    assert differences["difference"].tolist() == pytest.approx([3.0, 6.0])
    # Two equal differences have no interval.
    same = folder_of(tmp_path / "same", fewer, RESULTS.query("seed > 0"))
    table = compare((folders[0], same), Options()).answer.tables[1]
    assert [row[table.columns.index("95% interval")] for row in table.rows] == ["—", "—"]


@pytest.mark.parametrize(
    ("change", "results", "why"),
    [
        ({}, RESULTS, None),
        (
            {"first_seed": 7},
            RESULTS.assign(seed=RESULTS["seed"] + 7),
            "they have no seed in common at equal methods and numbers of parameters",
        ),
        (
            {},
            RESULTS.assign(num_params=RESULTS["num_params"] + 5),
            "they have no number of parameters in common at equal methods",
        ),
        ({"methods": ("sgd", "asam")}, RESULTS.replace({"method": {"sam": "asam"}}), "they have no method in common"),
    ],
    ids=["paired", "seeds", "sizes", "methods"],
)
def test_an_answer_says_why_nothing_is_paired(folders, tmp_path, change, results, why):
    known = description()
    known = dataclasses.replace(known, methods=known.methods | {"asam": known.methods["sam"]})
    other = folder_of(tmp_path / "third", dataclasses.replace(SPEC, **change), results, known)
    found = [one for one in compare((folders[0], other), Options()).answer.findings if one.startswith("No gain of")]
    assert found == ([f"No gain of third is paired with one of one: {why}."] if why else [])


def test_what_cannot_be_compared_is_refused(folders, tmp_path):
    with pytest.raises(UsageError, match="must be different folders"):
        compare((folders[0], folders[0]), Options())
    with pytest.raises(UsageError, match="give two or more"):
        compare(folders[:1], Options())
    other = folder_of(tmp_path / "loss", SPEC, results_table(growing), description("loss"))
    with pytest.raises(UsageError, match=r"has metric .*loss.*accuracy.*compare sweeps with equal metrics"):
        compare((folders[0], other), Options())
    alone = folder_of(tmp_path / "alone", dataclasses.replace(SPEC, methods=("sam",)), RESULTS.query("method == 'sam'"))
    with pytest.raises(UsageError, match=r"alone.*must have networks of sgd"):
        compare((folders[0], alone), Options())
    (folders[1].path / "results.parquet").unlink()
    with pytest.raises(SweepError, match="not finished"):
        compare(folders, Options())


def test_an_axis_that_a_sweep_lacks_has_no_value_there(folders, tmp_path):
    said = dataclasses.replace(description(), axes=(*description().axes, AxisFacts("depth", "depth {}")))
    deep = folder_of(tmp_path / "deep", SPEC, better(RESULTS).assign(depth=2), said)
    found = compare((folders[0], deep), Options())
    values = found.tables.results.groupby("sweep")["depth"].unique().map(list).to_dict()
    assert values == {"one": ["none"], "deep": ["2"]}
    assert {row[found.answer.tables[0].columns.index("depth")] for row in found.answer.tables[0].rows} == {"none", "2"}


def test_labels_are_as_short_as_tells_them_apart(folders, tmp_path):
    assert labels_of(folders) == ["one", "other"]
    same = folder_of(tmp_path / "deep" / "one", SPEC, RESULTS)
    assert labels_of((folders[0], same)) == [f"{tmp_path.name}/one", "deep/one"]
