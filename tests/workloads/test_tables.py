"""A user's own table as a workload, in Python and by the command."""

import numpy as np
import pandas as pd
import pytest
from sweep.commands import widebasin
from together import together

from widebasin.data import DataError, table
from widebasin.models import MLP
from widebasin.sweep import UsageError, resolve, workload_named
from widebasin.sweep.spec import Spec
from widebasin.workloads import WORKLOADS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables")
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=400), "b": random.integers(0, 100, 400)})
    frame["kind"] = np.where(frame["a"] > 0, "up", "down")
    frame["price"] = 1_000 * frame["a"] + frame["b"]
    frame["label"] = (frame["b"] > 50).astype(int)
    frame.to_csv(path / "t.csv", index=False)
    frame.to_parquet(path / "t.parquet")
    frame.rename(columns={"price": "a:b"}).to_csv(path / "colon.csv", index=False)
    return path


@together(
    ("name", "metric", "description", "inputs"),
    [
        ("t.csv", "accuracy", "t, mlp, 2 classes of label", 5),
        ("t.parquet", "accuracy", "t, mlp, 2 classes of label", 5),
        ("t.csv:kind", "accuracy", "t, mlp, 2 classes of kind", 4),
        ("t.csv:price", "loss", "t, mlp, regression on price in units of its standard deviation, 9", 5),
        ("t.csv:label:regression", "loss", "t, mlp, regression on label in units of its standard deviation, 0.5", 5),
        ("t.csv:regression", "loss", "t, mlp, regression on label in units of its standard deviation, 0.5", 5),
        ("colon.csv:a:b", "loss", "colon, mlp, regression on a:b in", 5),
    ],
)
def test_a_table_is_a_workload(folder, name, metric, description, inputs):
    name = str(folder / name)
    assert name in WORKLOADS
    workload = workload_named(name)
    assert workload is workload_named(name)  # read once
    assert (workload.name, workload.model, workload.metrics[0].name) == (name, "mlp", metric)
    assert workload.description.startswith(description)
    model = workload.problem(8, workload.recipe).network.static
    assert isinstance(model, MLP)
    assert workload.load().inputs.shape == (400, inputs)
    assert (workload.sizes.train, workload.sizes.valid, workload.sizes.test) == (320, 40, 40)
    assert resolve(Spec(workload=name)).batch_size == 128


@together(
    ("name", "message"),
    [
        ("t.csv:cost", "there is no column 'cost'; the columns of t.csv are 'a', 'b', 'kind', 'price', 'label'"),
        ("none.csv", "there is no such file"),
    ],
)
def test_what_is_not_there_is_an_error_of_the_argument(folder, name, message):
    with pytest.raises(UsageError, match=message) as error:
        workload_named(str(folder / name))
    assert error.value.argument == "workload"


def test_what_cannot_be_read_is_an_error_of_the_data(folder, tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,\n")
    with pytest.raises(DataError, match="values are missing: y in 1 of 1 rows"):
        workload_named(str(tmp_path / "t.csv"))
    assert "t.csvv" not in WORKLOADS
    assert ".csv" not in WORKLOADS


@pytest.mark.slow
def test_the_command_studies_a_table_and_goes_on_only_with_the_same_data(folder, tmp_path):
    (tmp_path / "t.csv").write_text((folder / "t.csv").read_text())
    flags = ["--widths", "4", "8", "--rhos", "0.1", "--seeds", "2", "--epochs", "2", "--out", "r"]
    command = ("study", "overparam", "--workload", "t.csv:kind", *flags)
    done = widebasin(*command, cwd=tmp_path, check=0)
    assert "Gain in test accuracy" in done.stdout
    assert "texts, used as 2 classes in this order" in done.stderr
    digest = table(tmp_path / "t.csv", "kind").dataset.digest()
    assert any(digest in path.read_text() for path in (tmp_path / "r").glob("*.json"))
    (tmp_path / "t.csv").write_text((folder / "t.csv").read_text().replace(",up,", ",over,", 1))
    assert "SHA-256" in widebasin(*command, cwd=tmp_path, check=2).stderr
