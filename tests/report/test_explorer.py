import base64
import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
from report.explored import data_of, embedded, explored
from report.packed import curve
from report.results_tables import METRICS, gains_of, growing, radii_of, results_table
from report.test_page import HOSTILE, Parsed

from widebasin.report.explorer import Explored, explored_data, explorer
from widebasin.report.tables import gains_table
from widebasin.statistics import Metric
from widebasin.statistics.gains import EPOCHS, SELECTIONS

METHODS = ("sgd", "sam", "asam")


def numbers(values) -> np.ndarray:
    return np.array([float(value) for value in values])


def rows_of(data, table, columns) -> pd.DataFrame:
    """What the rows of an embedded table are of."""
    values = {column["key"]: column["values"] for column in data["columns"]}
    return pd.DataFrame({name: [values[name][place] for place in table["of"][name]] for name in columns})


def uneven(**options) -> pd.DataFrame:
    """Each choice of metric, epoch and split gives other gains; one network diverged."""
    return results_table(
        growing,
        valid=lambda n: -n.rho if n.method == "sam" else 0.0,
        best_test=lambda n: growing(n) + (0.1 if n.method == "sam" else 0.0),
        diverged=lambda n: (n.width, n.method, n.seed) == (100, "asam", 1),
        methods=METHODS,
        label_noise=(0.0, 0.2),
        **options,
    )


@pytest.fixture(scope="module")
def what() -> Explored:
    """Of a made-up sweep, not to be changed."""
    return explored(uneven(), files={"CSV": "tables/gains.csv"})


@pytest.fixture(scope="module")
def data(what) -> dict:
    return explored_data(what)


@pytest.fixture(scope="module")
def page(what) -> str:
    return explorer(what)


def test_gains_are_those_of_the_gain_table_in_every_reading(what, data):
    assert [metric["label"] for metric in data["metrics"]] == ["accuracy (%)", "loss"]
    for one in what.readings:
        place = what.metrics.index(one.metric), EPOCHS.index(one.at), SELECTIONS.index(one.select)
        table = data["gains"][place[0]][place[1]][place[2]]
        for name, column in (("value", "gain"), ("low", "low"), ("high", "high")):
            np.testing.assert_allclose(numbers(table[name]), one.gains[column], rtol=1e-5)
        of = rows_of(data, table, ["method", "width", "num_params", "label_noise", "rho"])
        pd.testing.assert_frame_equal(of, one.gains.rename(columns={"rho_star": "rho"})[list(of)])
    assert "NaN" in table["value"]


def test_texts_of_gains_are_those_of_the_table_of_the_report():
    results = results_table(growing, widths=(10, 30))
    data = data_of(results)
    shown = data["gains"][0][0][0]
    report = gains_table(gains_of(results), explored(results).wording)
    assert [tuple(row[-len(shown["headings"]) :]) for row in report.rows] == [tuple(row) for row in shown["cells"]]
    assert report.columns[-len(shown["headings"]) :] == tuple(shown["headings"])
    assert shown["note"] == report.note


@pytest.mark.parametrize("at", EPOCHS)
def test_values_at_every_radius_are_those_of_the_radius_table(what, data, at):
    radii = radii_of(what.results, at=at)
    table = data["radii"][0][EPOCHS.index(at)]
    for name in ("value", "low", "high"):
        np.testing.assert_allclose(numbers(table[name]), radii[name], rtol=1e-5)
    of = rows_of(data, table, ["method", "width", "label_noise", "rho"])
    pd.testing.assert_frame_equal(of, radii[list(of)])
    assert table["cells"][0][0] == f"{radii['value'][0]:.1f}"


def test_networks_have_their_values_in_units_at_both_epochs(what, data):
    results = what.results
    of = rows_of(data, data["networks"], ["method", "width", "num_params", "label_noise", "rho", "seed"])
    pd.testing.assert_frame_equal(of, results[list(of)])
    measured = {
        (one["name"], one.get("metric"), one.get("at")): numbers(one["values"]) for one in data["networks"]["measured"]
    }
    for key, column, scale in (
        (("test", 0, 0), "test_accuracy", 100),
        (("test", 0, 1), "best_test_accuracy", 100),
        (("valid", 1, 0), "valid_loss", 1),
        (("train_loss", None, None), "train_loss", 1),
        (("diverged", None, None), "diverged_epoch", 1),
    ):
        np.testing.assert_allclose(measured[key], scale * results[column], rtol=1e-5)


def test_learning_curves_follow_their_networks_whatever_the_order_of_the_history():
    results = results_table(growing, widths=(10,))
    results["train_loss"] = np.arange(len(results)) + 1.0
    plain = explored(results, epochs=4, readings=())
    for history in (plain.history, plain.history.sample(frac=1.0, random_state=0)):
        packed = data_of(results, history=history, readings=())["curves"]
        for network in range(len(results)):
            epochs, losses = curve(packed, network, 0, 3)
            _, valid = curve(packed, network, 1, 3)
            done = np.arange(1, 5) / 4
            assert epochs == [1, 2, 3, 4]
            np.testing.assert_allclose(losses, (network + 1) * done, rtol=2e-5)
            np.testing.assert_allclose(valid, 100 * results["valid_accuracy"][network] * done, rtol=2e-5)


def test_the_reading_of_the_report_is_shown_first_and_columns_that_vary_are_choices(data):
    changed = data_of(results_table(growing, widths=(10,)), select="test", at="best", readings=())
    assert changed["chosen"] == {"metric": 0, "at": 1, "select": 1}
    assert data["varying"] == ["label_noise"]
    columns = {column["key"]: column for column in data["columns"]}
    assert list(columns) == ["method", "width", "num_params", "label_noise", "rho", "seed"]
    assert columns["label_noise"]["cells"] == ["0%", "20%"]
    assert columns["method"]["cells"] == ["SGD", "SAM", "ASAM"]
    assert data["baseline"] == columns["method"]["values"].index("sgd")


def test_another_metric_keeps_its_name_unit_and_direction():
    own = METRICS["word_error_rate"]
    results = results_table(lambda n: growing(n) / 2, metric=own.name)
    data = data_of(results, own)
    assert [metric["label"] for metric in data["metrics"]] == ["word error rate (%)", "loss"]
    assert [metric["higher"] for metric in data["metrics"]] == [False, False]
    np.testing.assert_allclose(numbers(data["gains"][0][0][0]["value"]), gains_of(results)["gain"], rtol=1e-5)


@pytest.mark.parametrize("methods", [("sgd",), ("sam", "asam")])
def test_without_gains_the_rest_is_there(methods):
    results = results_table(growing, methods=methods, widths=(10,), seeds=(0,))
    data = data_of(results)
    assert not any(one for metric in data["gains"] for at in metric for one in at)
    assert len(data["radii"][0][0]["value"]) == len(results)
    assert data["baseline"] == (0 if methods == ("sgd",) else -1)
    assert data["radii"][0][0]["cells"][0][1:4] == ["—", "—", "1"]


def test_a_page_of_a_thousand_networks_is_below_two_megabytes():
    grid = {"widths": (4, 8, 16, 32, 64), "rhos": tuple(0.01 * 2**k for k in range(9)), "seeds": tuple(range(20))}
    results = results_table(growing, **grid)
    assert len(results) == 1000
    page = explorer(explored(results, epochs=100, readings=()))
    assert len(page.encode()) < 2e6
    curves = embedded(page)["curves"]
    assert (curves["most"], set(curves["counts"])) == (80, {100})
    assert curves["epochs"]["100"][0] == 1
    assert curves["epochs"]["100"][-1] == 100


def test_the_page_loads_nothing_and_forbids_itself_to(page):
    document = Parsed(page)
    rest = page.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in re.sub("http-equiv", "", rest)
    for word in ("url(", "@import", "innerHTML", "fetch(", "XMLHttpRequest", "eval(", "import(", "document.write"):
        assert word not in page, word
    assert document.all("link") == document.all("img") == document.all("iframe") == []
    assert not any(name in ("src", "srcset", "style") for _, attributes in document.elements for name in attributes)
    assert [link["href"] for link in document.all("a")] == ["report.html", "tables/gains.csv"]
    (policy,) = [m["content"] for m in document.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    (style,) = document.texts["style"]
    _, script = document.texts["script"]
    for kind, content in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules.pop(kind) == f"'sha256-{digest}'"
    assert rules == dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")


def test_the_page_names_its_controls_and_fits_a_phone(page):
    document = Parsed(page)
    (viewport,) = (meta for meta in document.all("meta") if meta.get("name") == "viewport")
    assert viewport["content"] == "width=device-width, initial-scale=1"
    labelled = [parent for kind in ("select", "input") for parent in document.parents[kind]]
    assert {tag for tag, _ in labelled} == {"label"}
    regions = [attributes for tag, attributes in document.parents["table"] if attributes.get("class") == "wide"]
    assert len(regions) == len(document.all("table")) == 3
    assert all(one["tabindex"] == "0" and one["aria-label"] for one in regions)


def test_names_from_outside_stay_text_in_the_page_and_in_its_data():
    hostile = f"{HOSTILE}</script><!-- \u202e\u2028\x1b"
    escaped = hostile.replace("\u202e", r"\u202e").replace("\u2028", r"\u2028").replace("\x1b", r"\x1b")
    results = uneven(widths=(10,), seeds=(0,)).assign(workload=hostile)
    results["pruner"] = np.where(results["label_noise"] > 0, hostile, "none")
    results["label_noise"] = 0.0
    text = explorer(explored(results, titles={"asam": hostile}, title=hostile, setting=hostile))
    document = Parsed(text)
    assert document.all("b") == []
    assert len(document.all("script")) == 2
    assert escaped in document.texts["h1"][0]
    assert not {"\u202e", "\u2028", "\x1b"} & set(text)
    columns = {column["key"]: column for column in embedded(text)["columns"]}
    assert columns["method"]["cells"][2] == escaped
    assert columns["pruner"]["cells"] == ["none", escaped]


def test_data_are_json_also_where_nothing_is_finite():
    results = results_table(growing, diverged=lambda n: True)
    data = data_of(results)
    assert set(data["gains"][0][0][0]["value"]) == {"NaN"}
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_a_metric_is_scaled_and_named_once_though_it_is_called_loss():
    nats = Metric("loss", False, "nats")
    results = results_table(growing, metric="loss")
    data = data_of(results, nats, readings=())
    assert [metric["label"] for metric in data["metrics"]] == ["loss (nats)"]


def test_the_made_up_readings_differ(what):
    """Else equal gains would prove nothing."""
    assert len({tuple(one.gains["gain"].round(6)) for one in what.readings}) == 8
