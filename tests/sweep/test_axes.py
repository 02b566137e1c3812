"""What a grid varies is declared once; all else derives from the table, for the axes of a workload too."""

import dataclasses
import io
import json

import pandas as pd
import pytest
from rich.console import Console
from sweep.made_up import DEPTH, DROPOUT, NAME, deep_line, hidden_layers
from together import together

from widebasin import cli, training_commands
from widebasin.sweep import Execution, Spec, UsageError, read_spec, resolve, spec_toml
from widebasin.sweep.axes import AXES, Axis, from_record, record_of, with_own
from widebasin.sweep.cells import cells
from widebasin.sweep.describing import description_of
from widebasin.sweep.networks import load_network, stored_networks
from widebasin.sweep.rows import identity_rows, rows_of_spec
from widebasin.sweep.run import run
from widebasin.sweep.spec import fitted, resolved_type, spec_type
from widebasin.sweep.spec_file import parse_resolved
from widebasin.workloads import WORKLOADS


@pytest.fixture
def made_up(monkeypatch):
    """A workload with a depth and a dropout, known by name."""
    workload = deep_line()
    monkeypatch.setitem(WORKLOADS, NAME, workload)
    return workload


def spec_of(**values):
    return spec_type((DEPTH, DROPOUT))(**{"workload": NAME, "seeds": 1, **values})


# The table -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_an_axis_is_a_flag_of_sweeps_a_flag_of_train_a_column_and_is_checked(axis):
    assert axis.help
    assert axis.phrase.count("{}") == 1
    assert axis.flag in {field.name for field in dataclasses.fields(Spec)}
    assert axis.name in {field.name for field in dataclasses.fields(training_commands.Train)}
    resolved = resolve(Spec())
    assert all(axis.holds(value) and isinstance(value, axis.kind) for value in axis.defaults(WORKLOADS["digits-mlp"]))
    assert axis.name in rows_of_spec(resolved)
    bad = {int: -1, float: -1.0, str: "nonsense"}[axis.kind]
    with pytest.raises(UsageError) as error:
        resolve(Spec(**{axis.flag: bad if axis.counted else (bad,)}))
    assert error.value.argument == axis.flag


def test_columns_are_in_the_order_of_the_table():
    (cell,) = cells(resolve(Spec(widths=(3,), methods=("sgd",), seeds=1)))
    columns = list(identity_rows(cell, cell.points))
    assert columns[:4] == ["workload", "model", "width", "num_params"]
    assert ["width", *columns[4:]] == [axis.name for axis in AXES]
    varied = [axis.name for axis in AXES if axis.traced and axis.name != "seed"]
    assert [name for name, _ in cell.points[0].axes] == ["method", *varied]


@together(
    ("given", "message"),
    [
        ({"kind": bool}, "kind of axis x: must be int, float or str"),
        ({"flag": "my-flag"}, "flag of axis x: must be an identifier .*'my-flag'"),
        ({"name": "lambda"}, "name of axis lambda: must be an identifier"),
        ({"default": 0.5}, "default of axis x: must be a tuple of values, .* got 0.5"),
        ({"default": "none"}, "default of axis x: must be a tuple of values"),
    ],
)
def test_attributes_of_an_axis_are_checked(given, message):
    usual = {"name": "x", "flag": "x", "kind": float, "wanted": "", "holds": lambda value: True, "default": ()}
    with pytest.raises(ValueError, match=message):
        Axis(**usual | given)
    assert Axis(**usual | {"default": [0.5, 1.0]}).default == (0.5, 1.0)


# A workload's own ----------------------------------------------------------------------------------------------------


def test_own_axes_vary_within_cells_or_split_them(made_up):
    grid = cells(resolve(spec_of(depths=(1, 3), dropout=(0.0, 0.5), rhos=(0.1,), seeds=2)))
    assert [cell.name for cell in grid] == [
        "deep-line-width-2-depth-1-sgd-and-sam",
        "deep-line-width-2-depth-3-sgd-and-sam",
    ]
    assert [cell.settings.own for cell in grid] == [(("parametrization", "standard"), ("depth", d)) for d in (1, 3)]
    assert [(point["dropout"], point.seed) for point in grid[0].points[:4]] == [(0.0, 0), (0.0, 1), (0.5, 0), (0.5, 1)]
    assert made_up.axes == (DEPTH, DROPOUT)


def test_own_axes_have_defaults_checks_keys_and_phrases(made_up, tmp_path):
    resolved = resolve(Spec(workload=NAME))
    assert (resolved.depths, resolved.dropout) == ((1, 2), (0.0,))
    for values, argument in (
        ({"depths": (0,)}, "depths"),
        ({"dropout": (1.0,)}, "dropout"),
        ({"depths": ()}, "depths"),
    ):
        with pytest.raises(UsageError) as error:
            resolve(spec_of(**values))
        assert error.value.argument == argument
    resolved = resolve(spec_of(depths=(3,), dropout=(0.25,)))
    (tmp_path / "s.toml").write_text(spec_toml(resolved))
    assert resolve(read_spec(tmp_path / "s.toml")) == resolved
    own = from_record(json.loads(json.dumps(record_of((DEPTH, DROPOUT)))))
    assert parse_resolved(spec_toml(resolved), own).given() == resolved.given()
    description = description_of(resolved)
    assert [(one.column, one.phrase, one.percent) for one in description.axes[-2:]] == [
        ("dropout", "dropout {}", True),
        ("depth", "depth {}", False),
    ]
    assert {"dropout 25%", "depth 3"} <= set(description.recipe)


def test_an_axis_of_another_workload_is_refused(made_up, tmp_path):
    with pytest.raises(UsageError, match="digits-mlp has no such axis"):
        resolve(spec_of(workload="digits-mlp", depths=(3,)))
    assert resolve(fitted(spec_of(workload="digits-mlp"), ())) == resolve(Spec(seeds=1))
    (tmp_path / "s.toml").write_text('workload = "digits-mlp"\ndepths = 3\n')
    with pytest.raises(UsageError, match="depths"):
        read_spec(tmp_path / "s.toml")
    assert read_spec(tmp_path / "s.toml", workload=NAME).depths == (3,)


def test_names_of_own_axes_must_be_new():
    for own, word in (
        ((dataclasses.replace(DEPTH, flag="epochs"),), "epochs"),
        ((DEPTH, dataclasses.replace(DROPOUT, name="depth")), "depth"),
        ((dataclasses.replace(DEPTH, name="values"),), "values"),
    ):
        with pytest.raises(ValueError, match=f"must be new, and {word} is not"):
            resolved_type(own)
    assert [axis.name for axis in with_own((DEPTH, DROPOUT))[-3:]] == ["dropout", "depth", "seed"]


@pytest.mark.parametrize("name", ["gain", "train_loss", "seed"])
def test_an_axis_that_would_be_another_column_is_refused_with_the_workload(name):
    with pytest.raises(ValueError, match=f"axis {name} of .*: tables have a column of that name; choose another"):
        dataclasses.replace(deep_line(), axes=(dataclasses.replace(DEPTH, name=name, flag="its_values"),))


@pytest.mark.slow
def test_own_axes_are_columns_and_find_networks(made_up, tmp_path):
    spec = spec_of(depths=(1, 2), dropout=(0.0, 0.5), methods=("sgd",))
    folder = run(spec, tmp_path / "r", execution=Execution(keep_parameters=True))
    results = folder.results()
    assert results[["depth", "dropout", "num_params"]].to_numpy().tolist() == [
        [1, 0.0, 7],
        [1, 0.5, 7],
        [2, 0.0, 13],
        [2, 0.5, 13],
    ]
    assert set(folder.history()) >= {"depth", "dropout"}
    network = load_network(folder.path, depth=2, dropout=0.5)
    assert (network.point["dropout"], hidden_layers(network.model)) == (0.5, 2)
    assert len(stored_networks(folder.path, depth=2)) == 2
    with pytest.raises(UsageError, match=r"depth 1 2; seed 0"):
        load_network(folder.path, dropout=0.5)
    # The folder is read without its workload.
    del WORKLOADS[NAME]
    assert folder.spec().depths == (1, 2)
    pd.testing.assert_frame_equal(folder.results(), results)
    WORKLOADS[NAME] = made_up


@pytest.mark.slow
def test_own_axes_are_flags_once_the_workload_is_named(made_up, tmp_path, capsys):
    command = cli._parse(["sweep", "--workload", NAME, "--depths", "1", "3", "--dropout", "0.5"])
    assert (command.grid.depths, command.grid.dropout) == ((1, 3), (0.5,))
    (tmp_path / "s.toml").write_text(f'workload = "{NAME}"\ndepths = [4]\n')
    command = cli._parse(["sweep", "--file", str(tmp_path / "s.toml"), "--dropout", "0.5"])
    assert (command.grid.depths, command.grid.dropout) == ((4,), (0.5,))
    command = cli._parse(["study", "overparam", f"--workload={NAME}", "--depths", "2"])
    assert (command.study.grid.depths, command.study.grid.study) == ((2,), "overparam")
    for arguments in (["sweep", "--depths", "2"], ["sweep", "--workload", "line-mlp", "--depths", "2"]):
        with pytest.raises(SystemExit):
            cli._parse(arguments)
    with pytest.raises(SystemExit):
        cli._parse(["sweep", "--workload", NAME, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Number of hidden layers." in text
    assert "(default: 1 2)" in text


def test_train_takes_one_value_of_an_own_axis(made_up, monkeypatch):
    trained = []
    monkeypatch.setattr(training_commands, "_sweep", lambda spec, *rest: trained.append((spec, rest[2])))
    cli._parse(["train", "--workload", NAME, "--depth", "3"]).run(Console(file=io.StringIO()))
    ((spec, output),) = trained
    (cell,) = cells(resolve(spec))
    assert dict(cell.settings.own) == {"parametrization": "standard", "depth": 3}
    assert [point["dropout"] for point in cell.points] == [0.0]
    assert output.out.name == "deep-line-width-2-depth-3-dropout-0.0-sam-rho-0.05-seed-0"
    with pytest.raises(UsageError, match=r"^depth = 0"):
        cli._parse(["train", "--workload", NAME, "--depth", "0"]).run(Console(file=io.StringIO()))
