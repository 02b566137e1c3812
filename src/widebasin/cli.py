"""The command ``widebasin``: it parses the arguments; the subpackages do the work."""

import contextlib
import dataclasses
import inspect
import io
import itertools
import keyword
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_type_hints

import tyro
from rich.console import Console

from widebasin import __version__
from widebasin.axis import Axis
from widebasin.completion import with_names
from widebasin.data_command import DataCommand
from widebasin.exits import exit_when_interrupted, explained, without_waiting
from widebasin.json_output import JsonFile, probe_json, write_json
from widebasin.measure_command import MeasureCommand
from widebasin.reading_commands import Compare, Report, Status
from widebasin.shown import say, shown
from widebasin.studies import STUDIES, Options
from widebasin.sweep import Execution, Spec, UsageError, nearest_name, read_spec
from widebasin.sweep.accelerators import ACCELERATORS, EFFICIENCY, Accelerators
from widebasin.sweep.axes import AXES, own_of
from widebasin.sweep.execution import DataFolder, HostsFlag
from widebasin.sweep.executors import EXECUTORS
from widebasin.sweep.spec import (
    Named,
    Shared,
    fields_of,
    fitted,
    single_field,
    workload_named,
)
from widebasin.sweep.trackers import TRACKERS
from widebasin.theory_commands import TheoryCommand

if TYPE_CHECKING:
    from widebasin.studies.answering import Answered
    from widebasin.workloads import Workload

PIPE_COLUMNS = 160
# What ``widebasin tune`` trains, on any workload.
TUNED = Spec(study="transfer", parametrization=("mup2",), seeds=3)
# Commands that name a workload and values of axes.
TRAINING = (["study"], ["sweep"], ["train"], ["tune"], ["import"])

Flat = tyro.conf.OmitArgPrefixes


@dataclass(frozen=True)
class Output:
    """Where results go and what is printed during training."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: results/NAME)")] = None
    """Results folder; an interrupted run in it is continued."""
    overwrite: bool = False
    """Delete results of a different spec in that folder; results of this spec are continued."""
    quiet: bool = False
    """Show no progress."""
    track: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            metavar="STR [STR ...]",
            help=f"Trackers to log every epoch to: {', '.join(TRACKERS)}. log.jsonl is always written.",
            help_behavior_hint="(default: none)",
        ),
    ] = ()


@dataclass(frozen=True)
class Growth:
    """Whether a grid adds radii automatically."""

    extend_radii: bool = False
    """Add radii while the chosen one is the largest tried, or the smallest tried and the method loses."""


@dataclass(frozen=True)
class Forecast:
    """Estimate the cost of the grid before any training."""

    dry_run: bool = False
    """Write nothing and train for a moment at most: show networks, parameters, FLOPs, memory, disk space and time."""
    accelerator: Annotated[
        str | None,
        tyro.conf.arg(
            metavar="NAME",
            help=f"With --dry-run: also estimate the time on this device: {', '.join(ACCELERATORS)}.",
            help_behavior_hint="(default: none)",
        ),
    ] = None
    accelerators: int = 1
    """Number of these devices that share the networks, on one or more hosts."""
    efficiency: float = EFFICIENCY
    """Fraction of its peak FLOP rate that a device reaches."""

    @property
    def asked(self) -> bool:
        """Whether to show costs and write nothing.

        Raises:
            UsageError: if an accelerator is given without ``--dry-run``.
        """
        if self != Forecast(dry_run=self.dry_run) and not self.dry_run:
            name, value = next((n, v) for n, v in vars(self).items() if v != vars(Forecast())[n])
            raise UsageError(name, value, "needs --dry-run, which shows costs and writes nothing")
        return self.dry_run

    @property
    def devices(self) -> Accelerators | None:
        """The accelerators given, if any."""
        return None if self.accelerator is None else Accelerators(self.accelerator, self.accelerators, self.efficiency)


@dataclass(frozen=True)
class StudyCommand:
    """Run a study."""

    grid: Flat[Spec]
    answer: Flat[Options] = field(default_factory=Options)
    growth: Flat[Growth] = field(default_factory=Growth)
    execution: Flat[Execution] = field(default_factory=Execution)
    output: Flat[Output] = field(default_factory=Output)
    forecast: Flat[Forecast] = field(default_factory=Forecast)

    def run(self, console: Console) -> None:
        """Trains the grid and prints the answer, or prints the expected cost."""
        _train_or_forecast(self, self.answer, console)


def _study_subcommand(name: str, own: tuple[Axis, ...]) -> Any:
    study = STUDIES[name]
    examples = f"Examples:\n  widebasin study {name}\n  widebasin study {name} {study.example}"
    usual = StudyCommand(fitted(study.spec, own))
    return Annotated[
        StudyCommand, tyro.conf.subcommand(name, default=usual, description=f"{study.question}\n\n{examples}")
    ]


def _study_command(own: tuple[Axis, ...]) -> Any:
    """The command with one subcommand per study, and with flags for the workload's own axes."""
    subcommands = tuple(_study_subcommand(name, own) for name in STUDIES)

    @dataclass(frozen=True)
    class Study:
        """Answer a question: train its whole grid, print a table, write figures and a page.

        Examples:
          widebasin study overparam
          widebasin study label-noise --widths 8 32 128
          widebasin study overparam --help
        """

        study: Union[subcommands]  # type: ignore[valid-type]  # noqa: UP007
        """Which study."""

        def run(self, console: Console) -> None:
            """Runs the chosen study."""
            self.study.run(console)

    return Study


@dataclass(frozen=True)
class Sweep:
    """Train a grid of your own, from flags or a TOML file (flags win over the file).

    Examples:
      widebasin sweep --widths 16 64 --rhos 0.05 0.2 --seeds 3
      widebasin sweep --file grid.toml --epochs 100 --out results/long
      widebasin sweep --widths 16 64 --track tensorboard
      widebasin sweep --workload imagenet-resnet50 --dry-run --accelerator h100 --accelerators 8

    The keys of a TOML file are the names of the flags: widths = [16, 64], label_noise = 0.3, ...
    """

    grid: Flat[Spec]
    file: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """TOML file with the spec."""
    growth: Flat[Growth] = field(default_factory=Growth)
    execution: Flat[Execution] = field(default_factory=Execution)
    output: Flat[Output] = field(default_factory=Output)
    forecast: Flat[Forecast] = field(default_factory=Forecast)

    def run(self, console: Console) -> None:
        """Trains the grid and prints the results of each group of networks, or prints the expected cost."""
        _train_or_forecast(self, Options(), console)


@dataclass(frozen=True)
class Tune:
    """Find the learning rate and the radius on small networks, and print what to use for a large one.

    Trains small networks in the parametrization mup2, whose rules carry both to wider ones, at every learning rate and
    radius. By default: two widths in the middle of the workload's ladder, the smaller one as base width, five learning
    rates around its own, its radii, and 3 seeds. The report shows how far the best ones move between the small widths,
    and what that costs.

    Examples:
      widebasin tune 1024
      widebasin tune 4096 --widths 16 64 256 --learning-rate 0.05 0.1 0.2 --rhos 0.05 0.1 0.2 --seeds 5
      widebasin tune 512 --workload mnist-mlp --train-examples 2000 --epochs 10
    """

    width: tyro.conf.Positional[int]
    """Width of the large network."""
    grid: Flat[Spec]
    answer: Flat[Options] = field(default_factory=Options)
    execution: Flat[Execution] = field(default_factory=Execution)
    output: Flat[Output] = field(default_factory=Output)
    forecast: Flat[Forecast] = field(default_factory=Forecast)

    def run(self, console: Console) -> None:
        """Trains the small networks, prints the evidence, and what to use; or prints the expected cost."""
        from widebasin.studies.recommending import commands, recommendation_table, recommendations, to_tune
        from widebasin.studies.running import RESULTS, file_name

        spec = to_tune(self.grid, self.width)
        output = self.output
        if output.out is None:
            widths = "-".join(map(str, spec.widths or ()))
            output = dataclasses.replace(output, out=RESULTS / f"tune-{file_name(spec.workload)}-widths-{widths}")
        if self.forecast.asked:
            _forecast(spec, self.execution, output, self.forecast.devices, console)
            return
        answered = _sweep(spec, self.answer, self.execution, output, console)
        if answered is None:
            return
        found = recommendations(answered, self.answer)
        if not found:
            say(console, "Nothing to use: the best networks of the largest width diverged, or only guess.")
            say(console, "Try other learning rates and radii, more epochs, or wider networks.")
            return
        console.print(recommendation_table(found, answered, self.width).rich())
        for command in commands(found, answered.spec, self.width):
            say(console, command)


@dataclass(frozen=True)
class Train(Shared, fields_of(map(single_field, AXES)), Named):
    """Train one network and keep its parameters.

    Examples:
      widebasin train --width 64 --method sam --rho 0.2
      widebasin train --workload synthetic-mlp --width 500 --method sgd --seed 3
    """

    data_dir: DataFolder = None
    """Folder of data sets; searched before the cache."""
    hosts: HostsFlag = None
    """Number of this host, of all that train the network together, and where host 1 listens; or auto (Slurm)."""
    shard_parameters: bool = False
    """Split the parameters and the optimizer's state over all devices; less memory on each."""
    output: Flat[Output] = field(default_factory=Output)

    def run(self, console: Console) -> None:
        """Trains the network, as a sweep with one network."""
        from widebasin.data.places import look_in
        from widebasin.studies.running import RESULTS, meet, single_network

        look_in(self.data_dir)
        execution = Execution(
            keep_parameters=True, data_dir=self.data_dir, hosts=self.hosts, shard_parameters=self.shard_parameters
        )
        meet(execution)
        spec, name = single_network(*_single(self))
        output = self.output
        if output.out is None:
            output = dataclasses.replace(output, out=RESULTS / name)
        if _sweep(spec, Options(), execution, output, console) is not None:
            say(console, f"The network: widebasin.load_network({str(output.out)!r})")


def _in_words(workload: "Workload") -> str:
    """The recipe of a workload."""
    from widebasin.training.optimizers import OPTIMIZERS

    recipe = workload.recipe
    optimizer = OPTIMIZERS[recipe.optimizer]
    parts = (
        f"{recipe.epochs} epochs, batch {recipe.batch_size}, {optimizer.title}, learning rate {recipe.learning_rate:g} "
        f"({recipe.schedule})",
        f"momentum {recipe.momentum:g}" if optimizer.has_momentum else "",
        f"weight decay {recipe.weight_decay:g}",
        f"{100 * workload.label_noise:g}% wrong labels" if workload.label_noise else "",
    )
    return ", ".join(filter(None, parts))


def _single(command: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Returns the workload, the shared settings and the value on each axis of a single-network command."""
    shared = {one.name: getattr(command, one.name) for one in dataclasses.fields(Shared)}
    axes = (*AXES, *workload_named(command.workload).axes)
    return command.workload, shared, {axis.name: getattr(command, axis.name, None) for axis in axes}


def _of_one_network(command: type, own: tuple[Axis, ...]) -> Any:
    """The command, with flags for the workload's own axes."""
    if not own:
        return command
    namespace = {"__doc__": command.__doc__, "__module__": __name__}
    fields = map(single_field, own)
    return dataclasses.make_dataclass(command.__name__, fields, bases=(command,), namespace=namespace, frozen=True)


@dataclass(frozen=True)
class Import(Shared, fields_of(map(single_field, AXES)), Named):
    """Import a network trained elsewhere from an npz file of its parameters, so that it can be measured.

    The workload, built in or your own file, builds the model and loads the data. Give the recipe it was trained with,
    because stability depends on batch size, learning rate and weight decay. The data split is that of seed 0 unless you
    give another seed. Arrays must have the names of the model's arrays, or be in the same order.

    Examples:
      widebasin import mine.npz --workload mine.py --width 64 --batch-size 128 --learning-rate 0.1
      widebasin measure results/imported-mine
    """

    network: tyro.conf.Positional[Path] = field(kw_only=True)
    """The npz file with the parameters."""
    out: Annotated[
        Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: results/imported-FILE)")
    ] = None
    """Results folder; must not contain a sweep."""
    data_dir: DataFolder = None
    """Folder of data sets; searched before the cache."""

    def run(self, console: Console) -> None:
        """Evaluates the network and writes the folder."""
        from widebasin.data.places import look_in
        from widebasin.studies.answering import print_answer
        from widebasin.studies.running import imported

        look_in(self.data_dir)
        answered, folder = imported(self.network, *_single(self), self.out)
        print_answer(answered, folder, console)
        say(console, f"Its curvature: widebasin measure {shlex.quote(str(folder.path))}")


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
class List:
    """List the available studies, workloads, methods, optimizers, parametrizations and executors.

    Examples:
      widebasin list
      widebasin list workloads
    """

    what: tyro.conf.Positional[
        Literal["all", "studies", "workloads", "methods", "optimizers", "parametrizations", "executors"]
    ] = "all"
    """What to list."""

    def run(self, console: Console) -> None:
        """Prints the tables."""
        from widebasin.report.tables import Table

        if self.what in ("all", "studies"):
            rows = tuple((study.name, study.question) for study in STUDIES.values())
            console.print(Table("Studies (widebasin study NAME)", ("name", "question"), rows).rich("left"))
        if self.what in ("all", "workloads"):
            from widebasin.workloads import FAMILIES, WORKLOADS

            rows = tuple(
                (
                    w.name,
                    w.description,
                    " ".join(map(str, w.widths)),
                    _parameters(w),
                    " ".join(f"{rho:g}" for rho in w.rhos),
                    _in_words(w),
                )
                for w in WORKLOADS.values()
            )
            columns = ("name", "what", "widths", "parameters", "radii", "recipe")
            families = "; ".join(f"{one.name}:DATA, where DATA is {one.data}" for one in FAMILIES.values())
            note = f"On other data: {families}. Your own: FILE.npz, FILE.csv, FILE.parquet, FILE.py."
            console.print(Table("Workloads (--workload NAME)", columns, rows, note).rich("left"))
        if self.what in ("all", "methods"):
            from widebasin.sam import METHODS

            rows = tuple(
                (name, method.summary, f"{method.with_radius(0.0).gradients_per_step:.3g}")
                for name, method in METHODS.items()
            )
            columns = ("name", "description", "gradients per step")
            console.print(Table("Methods (--methods NAME ...)", columns, rows).rich("left"))
        if self.what in ("all", "optimizers"):
            from widebasin.training import OPTIMIZERS

            rows = tuple((name, optimizer.title, optimizer.summary) for name, optimizer in OPTIMIZERS.items())
            columns = ("name", "title", "what")
            console.print(Table("Base optimizers (--optimizer NAME)", columns, rows).rich("left"))
        if self.what in ("all", "parametrizations"):
            from widebasin.parametrization import PARAMETRIZATIONS

            title = "Parametrizations (--parametrization NAME ...)"
            console.print(
                Table(title, ("name", "what follows the width"), tuple(PARAMETRIZATIONS.items())).rich("left")
            )
        if self.what in ("all", "executors"):
            rows = tuple((name, executor.summary) for name, executor in EXECUTORS.items())
            console.print(Table("Executors (--executor NAME)", ("name", "where it trains"), rows).rich("left"))
            rows = tuple(
                (name, option.name, str(option.default), option.metadata["summary"])
                for name, executor in EXECUTORS.items()
                for option in dataclasses.fields(executor)
            )
            columns = ("executor", "option", "default", "what")
            title = "Options of executors (--executor-options OPTION=VALUE ...)"
            console.print(Table(title, columns, rows).rich("left"))


def _parameters(workload: "Workload") -> str:
    """Numbers of parameters of the smallest and the largest network."""
    from widebasin.data.errors import DataError

    try:
        return " to ".join(
            dict.fromkeys(f"{workload.num_params(width):,}" for width in (workload.widths[0], workload.widths[-1]))
        )
    except DataError:  # vocabularies are part of the data
        return "known with its data"


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


def _sweep(
    spec: Spec, options: Options, execution: Execution, output: Output, console: Console, extend_radii: bool = False
) -> "Answered | None":
    """Trains the missing networks of a sweep and prints the answer, which it returns, unless another host does."""
    from widebasin.studies.answering import print_answer
    from widebasin.studies.running import RESULTS, folder_name, train_and_answer

    path = output.out if output.out is not None else RESULTS / folder_name(spec)
    found = train_and_answer(
        spec,
        options,
        execution,
        path,
        overwrite=output.overwrite,
        console=console,
        quiet=output.quiet,
        extend_radii=extend_radii,
        track=output.track,
    )
    if found is None:
        return None
    print_answer(*found, console)
    return found[0]


def _train_or_forecast(command: StudyCommand | Sweep, options: Options, console: Console) -> None:
    """Trains a grid and prints the answer, or prints the expected cost without training or writing anything."""
    if command.forecast.asked:
        _forecast(command.grid, command.execution, command.output, command.forecast.devices, console)
        return
    growth = command.growth.extend_radii
    _sweep(command.grid, options, command.execution, command.output, console, growth)


def _forecast(
    spec: Spec, execution: Execution, output: Output, accelerators: Accelerators | None, console: Console
) -> None:
    """Prints the expected cost of a grid; nothing is trained or written."""
    from widebasin.studies.costs import cost_sentences, cost_table
    from widebasin.studies.running import RESULTS, cost, folder_name

    path = output.out if output.out is not None else RESULTS / folder_name(spec)
    found = cost(spec, execution, accelerators)
    console.print(cost_table(found).rich())
    for sentence in cost_sentences(found, path, accelerators):
        say(console, sentence)


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
    if list(arguments[:1]) in TRAINING:
        _check_repeated(arguments, (*AXES, *own))
        _check_numbers(arguments, (*AXES, *own))
    subcommands = (
        subcommand("study", _study_command(own)),
        subcommand("sweep", Sweep, default=Sweep(fitted(spec, own))),
        subcommand("train", _of_one_network(Train, own)),
        subcommand("tune", Tune, default=Tune(tyro.MISSING, fitted(TUNED, own))),
        subcommand("import", _of_one_network(Import, own)),
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
