"""The command as a newcomer meets it: help, errors, exit codes, output."""

import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from data.test_tu import written
from rich.console import Console
from sweep.commands import start, widebasin
from together import together

from widebasin import __version__, cli, theory, training_commands
from widebasin.axis import Axis
from widebasin.shown import shown
from widebasin.studies import STUDIES
from widebasin.sweep import UsageError, resolve
from widebasin.sweep.cells import cells
from widebasin.workloads.arrays import ARCHITECTURES

TINY = ("--widths", "4", "8", "--rhos", "0.05", "0.2", "--seeds", "2", "--epochs", "2")
COMMANDS = (
    "study",
    "sweep",
    "train",
    "report",
    "compare",
    "status",
    "measure",
    "list",
    "theory",
    "bench",
    "completion",
)
SUBCOMMANDS = (*(("study", name) for name in STUDIES), ("theory", "convergence"), ("theory", "stability"))
CONSTANTS = ("theory", "convergence", "--smoothness-each", "2", "--smoothness", "1", "--pl", "0.5")


@together("command", [(), *((name,) for name in COMMANDS), *SUBCOMMANDS])
def test_help_explains_and_shows_an_example_without_a_word_of_the_source(command, here):
    text = here(*command, "--help").out
    assert "widebasin study overparam" in text if command == () else "xample" in text
    assert not any(word in text for word in ("{None}", "noqa", "type:", "``"))


def test_a_reader_who_has_read_enough_causes_no_traceback():
    command = f"{sys.executable} -m widebasin.cli study overparam --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: widebasin study overparam")
    assert done.stderr == ""


def test_every_study_is_a_command(here):
    text = here("study", "--help").out
    assert all(name in text for name in STUDIES)


@together(
    ("arguments", "named", "remedy"),
    [
        (("study", "overparm"), "overparm", "overparam"),
        (("sweep", "--workload", "digit-mlp"), "digit-mlp", "digits-mlp"),
        (("sweep", "--methods", "sgd", "smm"), "smm", "sam"),
        (("sweep", "--rhos", "-0.1"), "rhos", ">= 0"),
        (("sweep", "--rhos", "nan"), "rhos", "finite"),
        (("sweep", "--widths", "0"), "widths", "at least 1"),
        (("sweep", "--widths"), "widths", "empty"),
        (("sweep", "--widths", "4", "x"), "widths = 'x'", "a whole number"),
        (("sweep", "--accelerator", "h100"), "accelerator = 'h100'", "needs --dry-run"),
        (("sweep", "--dry-run", "--accelerators", "4"), "accelerators = 4", "needs --accelerator, one of"),
        (("sweep", "--dry-run", "--efficiency", "0.7"), "efficiency = 0.7", "needs --accelerator, one of"),
        (("tune", "64", "--accelerators", "2"), "accelerators = 2", "needs --dry-run"),
        (("sweep", "--dry-run", "--track", "tensorbord"), "track = 'tensorbord'", "did you mean 'tensorboard'"),
        (("tune", "64", "--dry-run", "--samples", "0"), "samples = 0", "must be"),
        (("sweep", "--dry-run", "--extend-radii", "--shard", "1/2"), "extend_radii = True", "left out with --shard"),
        (("train", "--label-noise=much"), "label_noise = 'much'", "such as 0.3 for 30%"),
        (("sweep", "--label-noise", "1"), "label_noise", "[0, 1)"),
        (("sweep", "--batch-size", "5000"), "batch_size", "1000"),
        (("sweep", "--file", "none.toml"), "none.toml", "cannot be read"),
        (("study", "overparam", "--methods", "sam"), "methods", "sgd"),
        (("train", "--workload", "minst"), "minst", "Known"),
        (("report", "nowhere"), "nowhere", "does not exist"),
        (("study", "methods", "--widths", "4", "8"), "widths", "one value"),
        (("sweep", "--m", "30"), "m = 30", "divisor of the batch size 100"),
        (("study", "sparsity", "--widths", "16"), "sparsity = (0.0,)", "a value above 0"),
        (
            ("study", "linearized", "--workload", "digits-mlp", "--widths", "8"),
            "output_scale",
            "scales alpha, such as 1 100",
        ),
        (("sweep", "--devices", "0"), "devices = 0", "at least 1"),
        (("sweep", "--devices", "1000"), "devices = 1000", "the devices that this process has"),
        (("sweep", "--workers", "-1"), "workers = -1", "at least 0"),
        ((*CONSTANTS, "--rho", "-1"), "rho = -1.0", ">= 0"),
        ((*CONSTANTS[:-1], "4"), "pl = 4.0", "at most 1"),
        ((*CONSTANTS, "--share", "2"), "share = 2.0", "(0, 1)"),
        (("theory", "stability", "--sharpness", "1", "--learning-rate", "0.1", "--s3", "-1"), "s3 = -1.0", ">= 0"),
        (("theory", "stability", "--sharpness", "1", "--learning-rate", "0.1", "--s4", "1e80"), "s4 = 1e+80", "1e+60"),
        ((*CONSTANTS, "--json", "no/such.json"), "no/such.json", "cannot be written"),
    ],
)
def test_a_mistake_exits_with_2_and_names_value_and_remedy_before_training(here, tmp_path, arguments, named, remedy):
    printed = here(*arguments, check=2)
    assert named in printed.err
    assert remedy in printed.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_mistake_is_one_red_line_and_no_traceback(tmp_path):
    done = widebasin("sweep", "--rhos", "-0.1", check=2, cwd=tmp_path)
    assert done.stderr == "widebasin: rhos = -0.1: must be a finite number >= 0, at most 3.4e+38\n"
    assert done.stdout == ""


@pytest.mark.slow
@together("value", ["a\x1b[31mb", "a\nb", "a\u202eb"])
def test_a_mistake_is_quoted_as_it_is_shown(value, here):
    for arguments, code in (
        (("study", value), 2),
        (("sweep", "--seeds", value), 2),
        (("sweep", f"--{value}", "1"), 2),
        ((value,), 2),
        (("sweep", "--workload", f"{value}.npz"), 2),
        (("sweep", "--file", value), 2),
        (("report", value), 2),
        (("measure", value), 2),
        (("data", "check", value), 2),
    ):
        said = re.sub(r"\x1b\[[0-9;]*m", "", here(*arguments, check=code).err)
        assert said.replace("\n", "").isprintable(), arguments
        # Without the frame that tyro draws, and the lines that it breaks.
        assert shown(value) in re.sub(r"[│\s]", "", said), arguments


@together(
    ("name", "flag", "taken"),
    [("depth", "quiet", "quiet"), ("depth", "file", "file"), ("network", "depths", "network")],
)
def test_an_axis_of_a_workload_may_not_have_the_word_of_another_argument(name, flag, taken, monkeypatch, capsys):
    own = (Axis(name, flag, int, "a number", lambda value: True, (1,)),)
    monkeypatch.setattr(cli, "_own_axes", lambda workload: own)
    with pytest.raises(SystemExit):
        cli.main(["sweep", "--workload", "digits-mlp"])
    assert f"axes = '{name}': {taken} is another argument of the command" in capsys.readouterr().err


@together("arguments", [("studdy",), ("sweep", "--width", "4", "--nonsense"), ("sweep", "--seeds", "many")])
def test_an_unknown_flag_or_value_exits_with_2(arguments, here):
    here(*arguments, check=2)


def test_an_unknown_key_of_a_toml_file_exits_with_2(tmp_path, here):
    (tmp_path / "grid.toml").write_text("widht = [4]\n")
    done = here("sweep", "--file", "grid.toml", check=2)
    assert "did you mean 'widths'" in done.err


@pytest.mark.slow
def test_flags_win_over_the_file(tmp_path, here):
    (tmp_path / "grid.toml").write_text('widths = [4]\nmethods = ["sgd"]\nseeds = 1\nepochs = 2\n')
    here("sweep", "--file", "grid.toml", "--seeds", "2", "--out", "out", "--quiet")
    results = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert (results["seed"].tolist(), results["width"].unique().tolist()) == ([0, 1], [4])


@pytest.mark.slow
def test_a_study_prints_its_answer_and_writes_its_folder(tmp_path):
    done = widebasin("study", "overparam", *TINY, check=0, cwd=tmp_path)
    folder = tmp_path / "results" / "overparam"
    tables = {"results.parquet", "history.parquet"}
    records = {"spec.toml", "run.json", "description.json"}
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert there == {*records, *tables, "report.html", "explore.html", "figures", "tables", "cells", "log.jsonl"}
    assert len(pd.read_parquet(folder / "results.parquet")) == 2 * 3 * 2
    assert "Gain in test accuracy over SGD" in done.stdout
    assert re.search(r"\[100%\] digits-mlp width 8 sgd and sam: 6 networks trained", done.stdout)
    assert "1,850" in done.stdout
    assert done.stderr == ""
    names = {p.stem for p in (folder / "figures").iterdir()}
    assert {"gain", "radius", "test-accuracy", "train-loss", "by-radius"} <= names
    assert {p.suffix for p in (folder / "figures").iterdir()} == {".png", ".svg"}
    again = widebasin("study", "overparam", *TINY, check=0, cwd=tmp_path)
    assert "networks trained," not in again.stdout
    assert "Gain in test accuracy over SGD" in again.stdout


@pytest.mark.slow
def test_report_reads_results_anew_and_quiet_is_quiet(tmp_path, here):
    done = here("study", "overparam", *TINY, "--quiet", "--out", "o")
    assert "%]" not in done.out
    (tmp_path / "o" / "report.html").unlink()
    done = here("report", "o", "--select", "test", "--at", "best")
    assert "optimistic" in done.out
    assert "optimistic" in (tmp_path / "o" / "report.html").read_text()


@pytest.mark.slow
def test_train_keeps_the_parameters_of_one_network(tmp_path, here):
    here("train", "--width", "4", "--rho", "0.1", "--epochs", "2", "--seed", "3", "--quiet")
    (folder,) = (tmp_path / "results").iterdir()
    assert folder.name == "digits-mlp-width-4-sam-rho-0.1-seed-3"
    results = pd.read_parquet(folder / "results.parquet")
    assert results[["width", "rho", "seed", "method"]].to_numpy().tolist() == [[4, 0.1, 3, "sam"]]
    assert list((folder / "cells").glob("*/group-0.parameters/*.seal"))


@pytest.mark.parametrize(("given", "scale"), [({}, 100.0), ({"output_scale": 2.0}, 2.0)])
def test_train_trains_one_network_of_a_workload_with_several_scales(given, scale, monkeypatch):
    trained = []
    monkeypatch.setattr(training_commands, "_sweep", lambda spec, *rest: trained.append(spec))
    training_commands.Train(workload="digits-vgg11-lazy", method="sgd", **given).run(Console(file=io.StringIO()))
    (cell,) = cells(resolve(trained[0]))
    assert [point["output_scale"] for point in cell.points] == [scale]
    assert cell.settings.centered


def test_list_names_everything(here):
    text = here("list").out
    assert all(name in text for name in ("overparam", "label-noise", "digits-mlp", "synthetic-mlp", "sgd", "sam"))


@pytest.mark.slow
def test_a_corrupt_result_exits_with_1_and_a_remedy(tmp_path, here):
    here(
        "sweep",
        "--widths",
        "4",
        "--methods",
        "sgd",
        "--seeds",
        "1",
        "--epochs",
        "1",
        "--out",
        "o",
    )
    (tmp_path / "o" / "results.parquet").write_bytes(b"PAR1 broken")
    done = here("report", "o", check=1)
    assert "results.parquet is corrupt" in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
@together("shell", ["bash", "zsh"])
def test_completion_prints_a_script_for_the_shell(shell, here):
    script = here("completion", shell).out
    assert "overparam" in script
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
        for words, expected in (
            ("sweep --workload digits-m", {"digits-mlp"}),
            ("study overparam --methods sgd unnorm", {"unnormalized-sam"}),
            ("train --schedule co", {"constant", "cosine"}),
            ("study methods --preset q", {"quick"}),
            ("measure --method loo", {"looksam"}),
            ("data fetch mni", {"mnist"}),
            ("data fetch mnist cifar10 fash", {"fashion-mnist"}),
            ("data check --data-dir here fash", {"fashion-mnist"}),
            ("data fetch mnist --q", {"--quiet"}),
            ("list wor", {"workloads"}),
            ("bench --rounds 3 st", {"study", "step"}),
            ("bench step --r", {"--rounds"}),
            ("sweep --workload fashion", {f"fashion-mnist:{model}" for model in ARCHITECTURES}),
            # Split at the colon, as bash does, which then replaces what is after it.
            ("sweep --workload fashion-mnist : v", {"vgg11", "vit"}),
            ("sweep --workload fashion-mnist : mlp --meth", {"--methods"}),
            # Names of files, which bash completes by itself where it is given nothing, not even an empty word.
            ("report res", set()),
            ("sweep --out res", set()),
            ("train --track tens", {"tensorboard"}),
        ):
            typed = ["widebasin", *words.split()]
            ask = (
                f"COMP_WORDS=({' '.join(typed)}); COMP_CWORD={len(typed) - 1}; _tyro_widebasin; "
                "echo ${#COMPREPLY[@]} ${COMPREPLY[@]}"
            )
            done = subprocess.run(["bash"], input=f"{script}\n{ask}", capture_output=True, text=True, check=True)
            assert set(done.stdout.split()) == {str(len(expected)), *expected}
    else:
        _, _, program = script.partition("<< 'PYTHON_EOF'\n")
        typed = ("widebasin", "data", "fetch", "mnist", "fash", "4")
        done = subprocess.run(
            [sys.executable, "-", *typed], input=program.partition("\nPYTHON_EOF\n")[0], capture_output=True, text=True
        )
        assert done.stdout.split() == ["fashion-mnist", "fashion-mnist"]  # with a description


@pytest.mark.slow
def test_a_terminal_of_80_columns_shows_the_whole_answer(tmp_path):
    environment = os.environ | {"COLUMNS": "80", "FORCE_COLOR": "1"}
    done = widebasin("study", "overparam", *TINY, "--quiet", check=0, cwd=tmp_path, env=environment)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert max(map(len, plain.splitlines())) <= 80
    for text in ("parameters", "95% interval", "1,850"):
        assert text in plain


@pytest.mark.slow
def test_the_page_says_how_to_run_it_again_in_the_same_reading(tmp_path, here):
    here("study", "overparam", *TINY, "--quiet", "--out", "o")
    here("report", "o", "--select", "test")
    command = "widebasin study overparam --widths 4 8 --rhos 0.05 0.2 --seeds 2 --epochs 2 --select test"
    assert f"<pre>{command}</pre>" in (tmp_path / "o" / "report.html").read_text()


def test_train_names_its_own_flags_in_errors(here):
    for flag, value in (("width", "0"), ("rho", "-1"), ("seed", "-1"), ("method", "smm")):
        done = here("train", f"--{flag}", value, check=2)
        assert done.err.startswith(f"widebasin: {flag} = ")


def test_version_is_told_both_ways():
    done = subprocess.run([sys.executable, "-m", "widebasin", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == widebasin("--version", check=0).stdout == f"widebasin {__version__}\n"


@pytest.mark.slow
def test_an_interrupted_sweep_says_so_and_exits_with_130(tmp_path):
    process = start("sweep", "--widths", "64", "--epochs", "3000", "--out", tmp_path / "o", cwd=tmp_path)
    while not (tmp_path / "o" / "spec.toml").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130
    assert "run the same command to continue" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_another_workload_has_a_folder_of_its_own(tmp_path, here):
    arguments = ("--workload", "synthetic-mlp", "--widths", "5", "9", "--rhos", "0.1", "--seeds", "2", "--epochs", "2")
    done = here("study", "overparam", *arguments, "--quiet")
    assert [p.name for p in (tmp_path / "results").iterdir()] == ["overparam-synthetic-mlp"]
    assert "target variance 1.01" in " ".join(done.out.split())


@pytest.mark.slow
def test_train_refuses_a_radius_for_sgd_and_says_how_to_load_the_network(here):
    done = here("train", "--method", "sgd", "--rho", "0.1", check=2)
    assert "no radius" in done.err
    arguments = ("--method", "sgd", "--width", "4", "--epochs", "1", "--quiet")
    done = here("train", *arguments)
    assert "load_network('results/digits-mlp-width-4-sgd-seed-0')" in done.out


def test_a_file_for_the_benchmarks_is_tried_before_measuring(tmp_path, here):
    done = here("bench", "step", "--json", tmp_path / "none" / "x.json", check=2)
    assert "json" in done.err
    assert "ratio" not in done.out


def test_theory_prints_what_it_writes(tmp_path, here):
    done = here(*CONSTANTS, "--rho", "0.1", "--json", "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    expected = theory.convergence(smoothness_each=2.0, smoothness=1.0, pl=0.5, rho=0.1)
    assert found == dataclasses.asdict(expected) | {"guaranteed": True, "steps": expected.steps(0.01)}
    assert f"{found['factor']:.6g}" in done.out
    done = here(*CONSTANTS, "--rho", "1", "--json", "found.json")
    assert "nothing is guaranteed" in done.out
    assert json.loads((tmp_path / "found.json").read_text())["steps"] is None


def test_theory_says_which_condition_is_broken_and_which_does_not_exist(tmp_path, here):
    numbers = ("--sharpness", "15", "--s2", "8", "--s4", "10", "--learning-rate", "0.1", "--rho", "0.06")
    done = here("theory", "stability", *numbers, "--json", "found.json")
    assert "not linearly stable" in done.out
    assert "not above 2 rho = 0.12" in done.out
    found = json.loads((tmp_path / "found.json").read_text())
    assert not found["holds"]
    assert [(c["name"], c["holds"]) for c in found["conditions"]] == [
        ("a (1 + rho a)", False),
        ("s_2^2", True),
        ("s_4^4", True),
    ]


@pytest.mark.slow
def test_measure_prints_tables_keeps_measurements_and_writes_numbers(tmp_path, here):
    """From training to numbers, twice: the second time nothing is measured."""
    training = ("--workload", "line-mlp", "--width", "3", "--method", "unnormalized-sam", "--rho", "0.01")
    here("train", *training, "--epochs", "50", "--out", "one", "--quiet")
    command = ("measure", "one", "--samples", "12", "--multiples", "1", "10", "--json", "measured.json")
    done = here(*command)
    assert "measuring curvature: 1 of 1 network" in done.out
    for title in (
        "Curvature at the minimum",
        "Rise of the training loss",
        "Condition (6)",
        "Layers",
    ):
        assert title in done.out
    record = json.loads((tmp_path / "measured.json").read_text())
    (curvature,) = record["curvature"]
    assert curvature["sharpness"] > 0
    assert [row["multiple"] for row in record["stability"]] == [1, 10]
    assert [row["tested_rho"] for row in record["stability"]] == [0.01, 0.01]
    page = (tmp_path / "one" / "measure.html").read_text()
    assert "widebasin measure one --samples 12 --multiples 1 10" in page
    for heading in ("at worst within radius 0.05", "in the mean under noise of 0.05 per weight"):
        assert f">{heading}</th>" in page
    assert (tmp_path / "one" / "figures" / "measured-density.png").exists()
    again = here(*command)
    assert "measuring" not in again.out
    assert json.loads((tmp_path / "measured.json").read_text()) == record


@together(
    ("arguments", "message"),
    [
        (("nowhere",), "folder = 'nowhere': is not a folder"),
        ((".",), "contains no sweep"),
        ((".", "--samples", "1"), "samples = 1: must be a whole number of at least 2"),
        ((".", "--multiples", "0"), "multiples = (0.0,): must be finite numbers > 0"),
        ((".", "--sharpness-rho", "-1"), "sharpness_rho = -1.0: must be a finite number > 0"),
        ((".", "--method", "sma"), "did you mean 'sam'"),
        ((".", "--json", "no/such/file"), "json = 'no/such/file': cannot be written"),
    ],
)
def test_measure_names_what_is_wrong_and_the_remedy(arguments, message, here):
    printed = here("measure", *arguments, check=2)
    assert message in printed.err
    assert printed.out == ""


@pytest.mark.slow
def test_measure_says_where_no_parameters_were_kept(here):
    bare = ("sweep", "--workload", "line-mlp", "--widths", "2", "--methods", "sgd", "--seeds", "1", "--epochs", "1")
    here(*bare, "--out", "bare", "--quiet")
    assert "--keep-parameters" in here("measure", "bare", check=1).err


@pytest.mark.parametrize("command", [cli.Report, cli.MeasureCommand])
def test_data_are_looked_for_where_one_says_also_after_training(command, tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEBASIN_DATA", "elsewhere")
    with pytest.raises(UsageError, match="contains no sweep"):
        command(tmp_path, data_dir=tmp_path / "data").run(Console(file=io.StringIO()))
    assert os.environ["WIDEBASIN_DATA"] == str(tmp_path / "data")


@pytest.mark.slow
def test_report_needs_neither_workload_nor_data(tmp_path):
    chosen = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", inputs=chosen.normal(size=(90, 3)).astype("f4"), targets=np.arange(90) % 3)
    grid = ("--workload", "mine.npz", "--widths", "2", "--rhos", "0.1", "--seeds", "1", "--epochs", "1")
    widebasin("sweep", *grid, "--batch-size", "20", "--quiet", "--out", "r", check=0, cwd=tmp_path)
    (tmp_path / "mine.npz").unlink()
    (tmp_path / "r" / "report.html").unlink()
    (tmp_path / "elsewhere").mkdir()
    done = widebasin("report", tmp_path / "r", check=0, cwd=tmp_path / "elsewhere")
    assert done.stderr == ""
    assert "mine, mlp" in done.stdout.lower()
    assert "--workload mine.npz" in (tmp_path / "r" / "report.html").read_text()


def test_a_flag_given_twice_is_refused(here):
    printed = here("study", "overparam", "--rhos", "0.1", "--rhos", "0.2", check=2)
    assert "rhos = '--rhos': is given more than once; give it once" in printed.err


def test_own_axes_of_a_workload_are_known_from_the_data_folder(here, tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEBASIN_DATA", str(tmp_path / "elsewhere"))
    folder = tmp_path / "mine" / "rings"
    folder.mkdir(parents=True)
    written(folder, "rings")
    own = ("--workload", "mol-gcn:rings", "--data-dir", str(tmp_path / "mine"), "--dropout", "1.5")
    assert "dropout = 1.5" in here("study", "overparam", *own, check=2).err


@together(
    ("name", "code", "named"),
    [
        ("mol-gcn:nothing", 2, "such as tox21.csv.gz or MUTAG"),
        ("pos-transformer:en_lines:lemma", 2, "column must be one of upos, xpos, deprel, feats"),
        ("sst2-lstm:all", 2, "sentences"),
        ("pos-transformer:xx_none", 1, "the treebank xx_none was not found; put its folder"),
    ],
)
def test_data_that_no_family_has_end_with_one_line_and_its_code(name, code, named, here):
    """2 where the argument is wrong, 1 where the data are not here."""
    for command in (("train", "--workload", name), ("study", "overparam", "--workload", name)):
        printed = here(*command, check=code)
        assert named in printed.err
        assert len(printed.err.strip().splitlines()) == 1


def test_no_width_of_the_terminal_hides_nothing(here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    assert "asam" in here("list", "methods").out
