"""The command ``widebasin``: it parses the arguments; the subpackages do the work."""

import contextlib
import dataclasses
import gc
import inspect
import io
import itertools
import keyword
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_type_hints

import tyro
from rich.console import Console

from widebasin import __version__
from widebasin.axis import Axis
from widebasin.completion import with_names
from widebasin.data_command import DataCommand
from widebasin.exits import exit_when_interrupted, explained, without_waiting
from widebasin.json_output import JsonFile, probe_json, write_json
from widebasin.list_command import List
from widebasin.measure_command import MeasureCommand
from widebasin.reading_commands import Compare, Report, Status
from widebasin.shown import say, shown
from widebasin.studies import STUDIES
from widebasin.sweep import Spec, UsageError, nearest_name, read_spec
from widebasin.sweep.axes import AXES, own_of
from widebasin.sweep.spec import fitted, workload_named
from widebasin.theory_commands import TheoryCommand
from widebasin.training_commands import TUNED, Import, Sweep, Train, Tune, check_flags, of_one_network, study_command

PIPE_COLUMNS = 160
# New objects until Python looks for circles of references that nothing holds. Imports and tracing make many objects and
# hardly a circle; with Python's own number, 700, a tenth of their time is that search.
COLLECTED_AFTER = 50_000
# Commands that name a workload and values of axes.
TRAINING = (["study"], ["sweep"], ["train"], ["tune"], ["import"])


@dataclass(frozen=True)
class New:
    """Write a template for your own workload (data, model, loss and recipe); it runs as it is.

    Examples:
      widebasin new mine
      widebasin study overparam --workload mine.py
    """

    name: tyro.conf.Positional[str]
    """Name of the workload; the file is NAME.py."""

    def run(self, console: Console) -> None:
        """Writes the file."""
        from importlib.resources import files

        if self.name.endswith(".py"):
            raise UsageError("name", self.name, f"must be given without .py: {self.name.removesuffix('.py')}")
        if not self.name.isidentifier() or keyword.iskeyword(self.name):
            remedy = "must be a Python identifier: letters, digits and _, no digit first, and not a keyword"
            raise UsageError("name", self.name, remedy)
        path = Path(f"{self.name}.py")
        text = files("widebasin.workloads").joinpath("template.txt").read_text("utf-8").replace("NAME", self.name)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise UsageError("name", self.name, f"{path} already exists; choose another name, or delete it") from error
        say(console, f"Wrote {path}. Try it: widebasin study overparam --workload {path} --seeds 2")


@dataclass(frozen=True)
class Bench:
    """Measure speed on this machine: steps, epochs compared with optax and PyTorch, many networks at once, curvature.

    Examples:
      widebasin bench
      widebasin bench step --rounds 100
      widebasin bench methods
      widebasin bench epoch --json epoch.json
      widebasin bench images
      widebasin bench sequences
      widebasin bench graphs
      widebasin bench agents
      widebasin bench plans
      widebasin bench curvature
    """

    what: tyro.conf.Positional[
        Literal[
            "all",
            "study",
            "step",
            "methods",
            "epoch",
            "networks",
            "images",
            "sequences",
            "graphs",
            "agents",
            "plans",
            "sweeps",
            "curvature",
        ]
    ] = "all"
    """What to measure."""
    rounds: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the benchmark's own)")] = (
        None
    )
    """How often each contender is timed; tables show the median over rounds."""
    json: JsonFile = None
    """Write all measured times and a description of the machine to a file."""

    def run(self, console: Console) -> None:
        """Prints the machine and one table per benchmark."""
        if self.rounds is not None and self.rounds < 1:
            raise UsageError("rounds", self.rounds, "must be at least 1")
        probe_json(self.json)
        from widebasin.benchmarks import BENCHMARKS, this_machine

        machine = this_machine()
        console.print(machine.table().rich("left"))
        found = []
        for name in BENCHMARKS if self.what == "all" else (self.what,):
            benchmark = BENCHMARKS[name]
            say(console, f"{benchmark.question} Measuring ...", "dim")
            found.append(benchmark.measure(self.rounds or benchmark.rounds))
            console.print(found[-1].table().rich())
        write_json(self.json, {"machine": machine.record(), "benchmarks": [one.record() for one in found]})


@dataclass(frozen=True)
class Completion:
    """Print the shell's completion script.

    Examples:
      widebasin completion bash > ~/.local/share/bash-completion/completions/widebasin
      widebasin completion zsh > ~/.zfunc/_widebasin
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh"]]
    """Your shell."""

    def run(self, console: Console) -> None:
        """Prints the script."""
        from widebasin.data import DATASETS

        del console
        script = io.StringIO()
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(script):
            _parse(["--tyro-print-completion", self.shell])
        one_of = {"list": _choices(List), "bench": _choices(Bench), "completion": _choices(Completion)}
        print(with_names(script.getvalue(), one_of, {"data fetch": DATASETS, "data check": DATASETS}), end="")


def _choices(command: Any) -> tuple[str, ...]:
    """The names that a command accepts as its first, positional argument."""
    return get_args(get_type_hints(command)[dataclasses.fields(command)[0].name])


def _parsed(arguments: Sequence[str]) -> Any:
    """Parses the command; error messages quote the arguments with control characters escaped."""
    readable = [shown(argument) for argument in arguments]
    if readable == list(arguments):
        return _parse(arguments)
    try:
        return _parse(arguments, silent=True)
    except SystemExit:
        _parse(readable)
        raise


def _parse(arguments: Sequence[str], *, silent: bool = False) -> Any:
    if len(arguments) > 1 and arguments[0] == "study" and not arguments[1].startswith("-"):
        _known_study(arguments[1])

    def subcommand(name: str, command: Any, **options: Any) -> Any:
        # The whole docstring: tyro by itself leaves out what follows the first paragraph.
        return Annotated[command, tyro.conf.subcommand(name, description=inspect.getdoc(command), **options)]

    named = _named_workload(arguments)
    if named is not None:
        from widebasin.data.places import look_in

        # Whether a workload has axes of its own may depend on its data.
        look_in(None if (folder := _given(arguments, "--data-dir")) is None else Path(folder))
    spec = _file_spec(arguments, named)
    own = own_of(spec.axes) if named is None else _own_axes(named)
    check_flags(own)
    if list(arguments[:1]) in TRAINING:
        _check_repeated(arguments, (*AXES, *own))
        _check_numbers(arguments, (*AXES, *own))
    subcommands = (
        subcommand("study", study_command(own)),
        subcommand("sweep", Sweep, default=Sweep(fitted(spec, own))),
        subcommand("train", of_one_network(Train, own)),
        subcommand("tune", Tune, default=Tune(tyro.MISSING, fitted(TUNED, own))),
        subcommand("import", of_one_network(Import, own)),
        subcommand("report", Report),
        subcommand("compare", Compare),
        subcommand("status", Status),
        subcommand("new", New),
        subcommand("list", List),
        subcommand("measure", MeasureCommand),
        subcommand("data", DataCommand),
        subcommand("theory", TheoryCommand),
        subcommand("bench", Bench),
        subcommand("completion", Completion),
    )
    return tyro.cli(
        Union[subcommands],  # type: ignore[arg-type]  # noqa: UP007
        prog="widebasin",
        description=f"widebasin {__version__}: sharpness-aware minimization under overparameterization.\n\n"
        "Start with: widebasin study overparam",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
        console_outputs=not silent,
    )


def _known_study(name: str) -> None:
    if name not in STUDIES:
        raise nearest_name("study", name, STUDIES)


def _check_repeated(arguments: Sequence[str], axes: Sequence[Axis]) -> None:
    """Raises ``UsageError`` if a flag of several values is given twice: the second would drop the first's values.

    Of other flags the last one counts, so that a script can override them.
    """
    if arguments[0] not in ("study", "sweep", "tune"):
        return
    given = [argument.partition("=")[0] for argument in arguments]
    for flag in (*(axis.flag for axis in axes if not axis.counted), "radii", "tune"):
        name = f"--{flag.replace('_', '-')}"
        if given.count(name) > 1:
            raise UsageError(flag, name, "is given more than once; give it once, with all its values after it")


def _check_numbers(arguments: Sequence[str], axes: Sequence[Axis]) -> None:
    """Raises ``UsageError`` if a numeric axis is given something else, before tyro complains in terms of types."""
    one = list(arguments[:1]) not in (["study"], ["sweep"], ["tune"])
    flags = {f"--{(axis.name if one else axis.flag).replace('_', '-')}": axis for axis in axes if axis.kind is not str}
    for position, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in flags:
            words = itertools.takewhile(lambda word: not word.startswith("--"), arguments[position + 1 :])
            axis = flags[flag]
            for word in [value] if equals else list(words)[: 1 if one or axis.counted else None]:
                try:
                    axis.kind(word)
                except ValueError as error:
                    name = axis.name if one else axis.flag
                    raise UsageError(name, word, f"must be {axis.wanted}") from error


def _given(arguments: Sequence[str], flag: str) -> str | None:
    """The value of a flag on the command line, before it is parsed."""
    for position, argument in enumerate(arguments):
        if argument == flag and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(f"{flag}="):
            return argument.removeprefix(f"{flag}=")
    return None


def _named_workload(arguments: Sequence[str]) -> str | None:
    """The workload named on the command line, for commands that train."""
    if list(arguments[:1]) not in TRAINING:
        return None
    return _given(arguments, "--workload")


def _own_axes(workload: str) -> tuple[Axis, ...]:
    """The axes that a workload adds; none for an unknown workload, which is reported once everything is parsed."""
    from widebasin.data import DataError

    with contextlib.suppress(UsageError, DataError):
        return workload_named(workload).axes
    return ()


def _file_spec(arguments: Sequence[str], workload: str | None) -> Spec:
    """The spec that the flags of ``sweep`` modify: the one in --file, if given."""
    file = _given(arguments, "--file") if list(arguments[:1]) == ["sweep"] else None
    return Spec() if file is None else read_spec(Path(file), workload)


def _keep_docstrings() -> None:
    """Restarts Python if it has dropped the docstrings (``-OO``), because the help is made from them."""
    if sys.flags.optimize > 1:
        os.environ["PYTHONOPTIMIZE"] = "1"
        given = len(sys.orig_argv) - len(sys.argv) + 1
        options = [word.replace("OO", "O") if word.startswith("-") else word for word in sys.orig_argv[1:given]]
        os.execv(sys.executable, [sys.executable, *options, *sys.argv[1:]])


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exit code 0: success; 1: the work failed; 2: wrong command line; 130: interrupted."""
    exit_when_interrupted()
    if arguments is None:
        _keep_docstrings()
        gc.set_threshold(COLLECTED_AFTER)
        arguments = sys.argv[1:]
    # What a notebook has set for the processes that it starts; nothing is shown in a window.
    os.environ["MPLBACKEND"] = "agg"
    for stream in (sys.stdout, sys.stderr):
        # A letter that the terminal's encoding lacks is shown as a question mark, and never an error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if list(arguments) == ["--version"]:
        print(f"widebasin {__version__}")
        return
    if os.environ.get("COLUMNS") == "0":  # not known, as some terminals say it; nothing fits into it
        del os.environ["COLUMNS"]
    output = Console()
    with without_waiting(), explained(Console(stderr=True)):
        command = _parsed(arguments)
        # A pipe or a file has no width of its own: leave tables whole there, unless COLUMNS says how wide.
        whole = output.is_terminal or os.environ.get("COLUMNS", "").isdigit()
        command.run(output if whole else Console(width=PIPE_COLUMNS))


if __name__ == "__main__":
    main()
