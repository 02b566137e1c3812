"""The commands that train or store networks: ``widebasin study``, ``sweep``, ``tune``, ``train`` and ``import``."""

import dataclasses
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

import tyro
from rich.console import Console

from widebasin.axis import Axis
from widebasin.shown import say
from widebasin.studies import STUDIES, Options
from widebasin.sweep import Execution, Spec, UsageError
from widebasin.sweep.accelerators import ACCELERATORS, EFFICIENCY, Accelerators
from widebasin.sweep.axes import AXES
from widebasin.sweep.execution import DataFolder, HostsFlag
from widebasin.sweep.spec import Named, Shared, fields_of, fitted, single_field, workload_named
from widebasin.sweep.trackers import TRACKERS

if TYPE_CHECKING:
    from widebasin.studies.answering import Answered

# What ``widebasin tune`` trains, on any workload.
TUNED = Spec(study="transfer", parametrization=("mup2",), seeds=3)

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
            UsageError: if an accelerator is given without ``--dry-run``, or something of it without the accelerator.
        """
        if self != Forecast(dry_run=self.dry_run) and not self.dry_run:
            name, value = next((n, v) for n, v in vars(self).items() if v != vars(Forecast())[n])
            raise UsageError(name, value, "needs --dry-run, which shows costs and writes nothing")
        for name in ("accelerators", "efficiency"):
            if self.accelerator is None and (value := getattr(self, name)) != getattr(Forecast(), name):
                raise UsageError(name, value, f"needs --accelerator, one of {', '.join(ACCELERATORS)}")
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


def study_command(own: tuple[Axis, ...]) -> Any:
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
            _forecast(spec, self.answer, self.execution, output, self.forecast.devices, console)
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
        spec, name = single_network(*single(self))
        output = self.output
        if output.out is None:
            output = dataclasses.replace(output, out=RESULTS / name)
        if _sweep(spec, Options(), execution, output, console) is not None:
            say(console, f"The network: widebasin.load_network({str(output.out)!r})")


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
        answered, folder = imported(self.network, *single(self), self.out)
        print_answer(answered, folder, console)
        say(console, f"Its curvature: widebasin measure {shlex.quote(str(folder.path))}")


def single(command: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Returns the workload, the shared settings and the value on each axis of a single-network command."""
    shared = {one.name: getattr(command, one.name) for one in dataclasses.fields(Shared)}
    axes = (*AXES, *workload_named(command.workload).axes)
    return command.workload, shared, {axis.name: getattr(command, axis.name, None) for axis in axes}


def check_flags(own: tuple[Axis, ...]) -> None:
    """Raises ``UsageError`` if an own axis of a workload has the word of another argument of a command that trains.

    Grids have an axis by its flag, single networks by its name.
    """
    of_grid, of_one = (
        {field.name for command in commands for field in dataclasses.fields(command)}
        for commands in ((Sweep, Growth, Execution, Output, Forecast, Options), (Train, Import, Output))
    )
    for axis in own:
        if taken := [word for word, used in ((axis.flag, of_grid), (axis.name, of_one)) if word in used]:
            raise UsageError("axes", axis.name, f"{taken[0]} is another argument of the command; choose another word")


def of_one_network(command: type, own: tuple[Axis, ...]) -> Any:
    """The command, with flags for the workload's own axes."""
    if not own:
        return command
    namespace = {"__doc__": command.__doc__, "__module__": __name__}
    fields = map(single_field, own)
    return dataclasses.make_dataclass(command.__name__, fields, bases=(command,), namespace=namespace, frozen=True)


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
    growth, execution, output = command.growth.extend_radii, command.execution, command.output
    if command.forecast.asked:
        _forecast(command.grid, options, execution, output, command.forecast.devices, console, growth)
    else:
        _sweep(command.grid, options, execution, output, console, growth)


def _forecast(
    spec: Spec,
    options: Options,
    execution: Execution,
    output: Output,
    accelerators: Accelerators | None,
    console: Console,
    extend_radii: bool = False,
) -> None:
    """Prints the expected cost of a grid, or refuses its arguments as ``_sweep`` does; nothing is written."""
    from widebasin.studies.costs import cost_sentences, cost_table
    from widebasin.studies.running import RESULTS, check_arguments, cost, folder_name

    check_arguments(options, execution, overwrite=output.overwrite, extend_radii=extend_radii, track=output.track)
    path = output.out if output.out is not None else RESULTS / folder_name(spec)
    found = cost(spec, execution, accelerators, extend_radii=extend_radii)
    console.print(cost_table(found).rich())
    for sentence in cost_sentences(found, path, accelerators):
        say(console, sentence)
