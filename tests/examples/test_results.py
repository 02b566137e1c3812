"""Tables of the page of results come from results: the one whose networks are kept, and new ones by its script."""

import importlib.util
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from report.results_tables import paired_of

import widebasin

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PAGE = (RESULTS / "README.md").read_text(encoding="utf-8")


def rows_of(workload, page=PAGE):
    """The rows of a workload's table, as lists of text."""
    table = re.search(rf"<!-- table: {workload} -->\n\n(.*?)\n<!-- end of table -->", page, re.DOTALL)
    assert table
    return [line.strip("| ").split(" | ") for line in table[1].splitlines() if not line.startswith("|---")]


def test_the_table_of_mnist_is_that_of_its_networks():
    networks = pd.read_csv(RESULTS / "mnist-mlp.csv")
    networks = networks.assign(
        sparsity=0.0,
        pruner="none",
        output_scale=1.0,
        label_noise=0.0,
        weight_decay=1e-4,
        learning_rate=0.1,
        parametrization="standard",
    )
    gains = paired_of(networks).groupby("num_params")
    head, *rows = rows_of("mnist-mlp")
    assert len(rows) == len(gains)
    for row in (dict(zip(head, row, strict=True)) for row in rows):
        seeds = gains.get_group(int(row["parameters"].replace(",", "")))
        gain, error = map(float, row["gain ± s.e. (points)"].split(" ± "))
        # The networks are kept to six digits.
        assert gain == pytest.approx(seeds["gain"].mean(), abs=0.006)
        assert error == pytest.approx(seeds["gain"].sem(), abs=0.006)
        assert float(row["SGD %"]) == pytest.approx(seeds["baseline_value"].mean(), abs=0.006)
        assert float(row["rho*"]) == seeds["rho"].iloc[0]


@pytest.fixture
def script():
    found = importlib.util.spec_from_file_location("results_page", RESULTS / "tables.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_script_writes_table_figure_and_networks(script, tmp_path):
    found = widebasin.study(
        "overparam",
        workload="synthetic-mlp",
        widths=(100,),
        rhos=(0.1,),
        seeds=2,
        epochs=1,
        out=tmp_path / "results",
        progress=False,
    )
    page = tmp_path / "README.md"
    page.write_text("<!-- table: synthetic-mlp -->\n\nnone\n\n<!-- end of table -->\n", encoding="utf-8")
    shutil.copy(RESULTS / "synthetic-mlp-gain.svg", tmp_path)
    (tmp_path / "synthetic-mlp.csv").write_text("width,seed,test_loss\n", encoding="utf-8")
    script.main([str(tmp_path / "results")], tmp_path)
    head, row = rows_of("synthetic-mlp", page.read_text(encoding="utf-8"))
    assert head[-1] == "published gain"
    assert row[:2] == ["100", "10,001"]
    assert float(row[4].partition(" ")[0]) == pytest.approx(found.gains["gain"].item(), abs=6e-4)
    assert row[-1] == "0.026"
    assert (tmp_path / "synthetic-mlp-gain.svg").read_text() == (tmp_path / "results/figures/gain.svg").read_text()
    assert len(pd.read_csv(tmp_path / "synthetic-mlp.csv")) == 4


def test_the_script_says_where_the_page_has_no_place(script):
    with pytest.raises(SystemExit, match="0 places for the table of wine"):
        script.replaced(PAGE, "wine", "")
