"""How networks are written of."""

import numpy as np
import pytest
from report.results_tables import growing, results_table, wording_for

WORDING = wording_for()


def test_methods_have_their_titles_and_unknown_ones_their_names():
    assert WORDING.method("unnormalized-sam") == "unnormalized SAM"
    assert WORDING.method("a method of one's own") == "a method of one's own"
    assert (WORDING.baseline, wording_for(sgd="AdamW").baseline) == ("SGD", "AdamW")


def test_settings_in_words():
    row = {"label_noise": 0.07, "weight_decay": 1e-4}
    assert WORDING.setting(row, ["label_noise", "weight_decay"]) == "label noise 7%, weight decay 0.0001"
    assert WORDING.setting({}, []) == ""
    assert WORDING.setting({"sparsity": 0.999965}, ["sparsity"]) == "sparsity 99.9965%"  # and not 100%


def test_a_phrase_of_its_own_words_an_axis():
    wording = WORDING.read_by(depth="{} layers", stopped="stopped {}")
    assert wording.setting({"depth": 3, "stopped": "early"}, ["depth", "stopped"]) == "3 layers, stopped early"


def test_every_row_is_told_what_its_setting_is():
    results = results_table(growing, widths=(10,), label_noise=(0.0, 0.2), seeds=(0,), methods=("sgd",))
    assert WORDING.settings(results) == ["label noise 0%", "label noise 20%"]
    assert WORDING.settings(results.head(1)) == [""]


@pytest.mark.parametrize(
    ("method", "words"),
    [("sgd", "width 10, SGD, label noise 20%"), ("sam", "width 10, SAM, rho 0.05, label noise 20%")],
)
def test_networks_in_words(method, words):
    row = {"width": 10, "method": method, "rho": 0.05, "label_noise": 0.2}
    assert WORDING.network(row, ["label_noise"]) == words


def test_groups_of_networks_as_cells():
    columns = ["width", "num_params", "method", "rho", "label_noise", "weight_decay", "pruner"]
    values = (10, 61_035, "unnormalized-sam", 0.0005, 0.2, 1e-4, "none")
    cells = WORDING.cells(dict(zip(columns, values, strict=True)), columns)
    assert cells == ("10", "61,035", "unnormalized SAM", "0.0005", "20%", "0.0001", "none")
    assert WORDING.cells({"rho": 0.0, "width": np.int64(4)}, ["width", "rho"]) == ("4", "0")


def test_headings_are_words():
    assert WORDING.headings(["width", "num_params", "label_noise", "tested_rho", "tested_learning_rate"]) == (
        "width",
        "parameters",
        "label noise",
        "rho judged",
        "learning rate judged",
    )
