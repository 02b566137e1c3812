"""The commands as Python functions, for scripts and notebooks: they return the answers as objects.

``widebasin.study``, ``sweep``, ``cost``, ``train``, ``report``, ``compare``, ``measure``, ``status``,
``import_network`` and ``load_network`` are these functions. They take the commands' flags as keyword arguments, with
underscores, and continue, extend or refuse a results folder in the same way.
"""

import base64
import contextlib
import dataclasses
import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console

from widebasin.data import DataError
from widebasin.data.places import look_in
from widebasin.report.page import Answer, image
from widebasin.shown import shown
from widebasin.statistics.gains import NothingToPair, gain_table, paired_gains
from widebasin.statistics.trends import slope_per_decade
from widebasin.studies import STUDIES, Options, comparing, running
from widebasin.studies.answering import Answered, write_answer
from widebasin.studies.findings import series_of
from widebasin.studies.questions.measured import STUDY as MEASURED
from widebasin.studies.running import RESULTS, folder_name, single_network, train_and_answer
from widebasin.studies.study import Epoch, Measures, Split
from widebasin.sweep import Execution, Spec, SweepError, UsageError, nearest_name, read_spec
from widebasin.sweep.axes import AXES
from widebasin.sweep.cost import Cost
from widebasin.sweep.folder import OTHERS, ResultsFolder
from widebasin.sweep.networks import TrainedNetwork, load_network
from widebasin.sweep.progress import tracker
from widebasin.sweep.spec import Shared, fitted, workload_named
from widebasin.sweep.spec_file import typed_fields, typed_value
from widebasin.sweep.status import Status, status_of
from widebasin.training import CheckpointError
from widebasin.training.compilation import keep_compiled_programs
from widebasin.workloads.files import forget_files

__all__ = [
    "CheckpointError",
    "DataError",
    "Results",
    "SweepError",
    "UsageError",
    "compare",
    "cost",
    "import_network",
    "load_network",
    "measure",
    "report",
    "status",
    "study",
    "sweep",
    "train",
]


@dataclass(frozen=True)
class Results:
    """What a study, a sweep or a report found. Notebooks display it as findings, tables and figures.

    Attributes:
        folder: the results folder.
        answer: title, question, setting, findings (sentences), formatted tables, figures.
        results: one row per network, see ``docs/sweeps.md`` for the columns; of tuned settings only the chosen ones
            (``results.parquet`` in the folder has all).
        history: one row per network and epoch.
        gains: one row per method, setting and size: gain over the baseline with its interval; empty if the sweep has no
            baseline or nothing to compare with it.
        slopes: one row per method and setting: ``slope``, how much the gain grows with tenfold parameters, with ``low``
            and ``high`` of its t interval over seeds (NaN for one seed); empty if there is only one size.
        measured: what was measured on the networks, one table per instrument.
    """

    folder: Path
    answer: Answer
    results: pd.DataFrame
    history: pd.DataFrame
    gains: pd.DataFrame
    slopes: pd.DataFrame
    measured: Mapping[str, pd.DataFrame]

    @property
    def findings(self) -> tuple[str, ...]:
        """The answer in sentences, each with its numbers."""
        return self.answer.findings

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Title -> table of the answer, formatted as text; the numbers are in ``gains`` and ``results``."""
        return {table.title: pd.DataFrame(table.rows, columns=list(table.columns)) for table in self.answer.tables}

    @property
    def figures(self) -> dict[str, Figure]:
        """Name -> figure of the answer."""
        return {picture.name: picture.figure for picture in self.answer.pictures}

    def __str__(self) -> str:
        """Title and findings."""
        return "\n".join((shown(self.answer.title), *(f"• {shown(finding)}" for finding in self.findings)))

    def _repr_html_(self) -> str:
        """HTML for notebooks."""
        answer = self.answer
        parts = [f"<h3>{_escaped(answer.title)}</h3>", f"<p><em>{_escaped(answer.setting)}</em></p>", "<ul>"]
        parts += [f"<li>{_escaped(finding)}</li>" for finding in answer.findings] + ["</ul>"]
        for title, table in self.tables.items():
            cells = table.map(shown).rename(columns=shown)
            parts += [f"<p><strong>{_escaped(title)}</strong></p>", cells.to_html(index=False, border=0)]
        for picture in answer.pictures:
            content = base64.b64encode(image(picture.figure, "png")).decode()
            title = _escaped(picture.title)
            parts.append(
                f'<p>{title}</p><img alt="{title}" style="max-width: 640px" src="data:image/png;base64,{content}">'
            )
        parts.append(f"<p>{_escaped(str(self.folder))}</p>")
        return "\n".join(parts)


def study(
    name: str,
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    extend_radii: bool = False,
    track: Sequence[str] = (),
    progress: bool = True,
    **choices: Any,
) -> Results:
    """Runs a study: trains the missing networks of its grid and writes tables, figures and a page.

    Args:
        name: the study, such as ``overparam``; ``widebasin list studies`` lists them.
        out: results folder; ``results/NAME`` by default. A sweep in it is continued, or extended to this one.
        overwrite: delete results of a different spec in that folder.
        extend_radii: add radii from 1, 2, 5, 10, 20 ... while the chosen one is the largest tried, or the smallest
            tried and the method loses.
        track: trackers to log every epoch to, such as ``("tensorboard",)``.
        progress: whether to show progress.
        choices: the flags of ``widebasin study NAME --help``: grid and recipe (``workload``, ``widths``, ``rhos``,
            ``seeds``, ``epochs`` ...), reading (``select``, ``at``, ``samples``), execution (``devices``,
            ``keep_parameters``, ``data_dir`` ...).

    Raises:
        UsageError: for a bad argument, before anything is trained.
        DataError: if the data cannot be found.
        SweepError: if the folder is in use or damaged.

    Example:
        >>> found = widebasin.study("overparam", widths=(4, 16), rhos=(0.05, 0.1), seeds=3)  # doctest: +SKIP
        >>> found.slopes[["method", "slope", "low", "high"]]  # doctest: +SKIP
    """
    if not isinstance(name, str) or name not in STUDIES:
        raise nearest_name("name", name, STUDIES)
    return _answer(STUDIES[name].spec, choices, out, overwrite, extend_radii, track, progress)


def sweep(
    *,
    file: Path | str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    extend_radii: bool = False,
    track: Sequence[str] = (),
    progress: bool = True,
    **choices: Any,
) -> Results:
    """Trains your own grid; arguments, errors and return value are as in ``study``.

    Args:
        file: TOML file with a spec; ``choices`` override its values.
        out: results folder; ``results/sweep`` by default.
        overwrite: see ``study``.
        extend_radii: see ``study``.
        track: see ``study``.
        progress: see ``study``.
        choices: see ``study``.
    """
    named = choices.get("workload")
    start = Spec() if file is None else read_spec(_path("file", file), named if isinstance(named, str) else None)
    return _answer(start, choices, out, overwrite, extend_radii, track, progress)


def train(
    *,
    workload: str = "digits-mlp",
    out: Path | str | None = None,
    overwrite: bool = False,
    track: Sequence[str] = (),
    progress: bool = True,
    data_dir: Path | str | None = None,
    shard_parameters: bool = False,
    **choices: Any,
) -> TrainedNetwork:
    """Trains one network, keeps its parameters and returns the network.

    Args:
        workload: name of a workload, or path of a file with your own arrays.
        out: results folder; by default named after the network.
        overwrite: see ``study``.
        track: see ``study``.
        progress: see ``study``.
        data_dir: folder of data sets; searched before the cache.
        shard_parameters: whether to split the parameters and the optimizer's state over all devices.
        choices: the flags of ``widebasin train --help``: ``width``, ``method``, ``rho``, ``seed``, ``epochs`` ...

    Raises:
        UsageError, DataError, SweepError: as ``study``.
    """
    where = None if data_dir is None else _path("data_dir", data_dir)
    look_in(where)
    spec, folder = single_network(*_single(workload, choices))
    path = RESULTS / folder if out is None else _path("out", out)
    execution = Execution(keep_parameters=True, data_dir=where, shard_parameters=shard_parameters)
    train_and_answer(
        spec, Options(), execution, path, overwrite=overwrite, console=Console(), quiet=not progress, track=track
    )
    return load_network(path)


def cost(study: str | None = None, *, calibrate: bool = True, **choices: Any) -> Cost:
    """Estimates the cost of a study or sweep: networks, operations, memory, disk, time. Trains and writes nothing.

    Args:
        study: name of the study; without it, your own sweep.
        calibrate: whether to train a few networks for a few seconds to estimate the time on this machine.
        choices: see ``study``.

    Returns:
        ``seconds`` here, ``seconds_on("h100", 8)``, ``operations``, ``memory``, ``disk``, and ``cells``, the costs per
        cell.

    Raises:
        UsageError, DataError: as ``study``.
    """
    if study is not None and (not isinstance(study, str) or study not in STUDIES):
        raise nearest_name("study", study, STUDIES)
    start = Spec() if study is None else STUDIES[study].spec
    spec, options, execution = _asked(start, choices)
    options.check()
    return running.cost(spec, execution, calibrate=calibrate)


def import_network(
    network: Any,
    *,
    workload: str,
    state: Any = None,
    out: Path | str | None = None,
    data_dir: Path | str | None = None,
    **choices: Any,
) -> Results:
    """Imports a network trained elsewhere: evaluates it and stores it in a results folder, ready to be measured.

    Args:
        network: its parameters: a pytree of arrays, such as an Equinox model or the parameters of Flax, or the path of
            an npz file with them.
        workload: name or file of the workload, which builds the model and loads the data.
        state: arrays that are not parameters, if the model has any: running statistics of batch normalization.
        out: results folder; by default named after the file or the network.
        data_dir: folder of data sets; searched before the cache.
        choices: ``width`` and the settings it was trained with: ``batch_size``, ``learning_rate``, ``method``, ``seed``
            of the split ..., see ``widebasin import --help``.

    Raises:
        UsageError: if the arrays do not match the model, or the folder contains a sweep.
        DataError: if the data cannot be found, or the file is damaged.

    Example:
        >>> widebasin.import_network(model, workload="mine.py", width=64, out="results/mine")  # doctest: +SKIP
        >>> widebasin.measure("results/mine").findings  # doctest: +SKIP
    """
    look_in(None if data_dir is None else _path("data_dir", data_dir))
    given = Path(network) if isinstance(network, (str, os.PathLike)) else network
    place = None if out is None else _path("out", out)
    answered, folder = running.imported(given, *_single(workload, choices), place, state)
    return _results(answered, folder, Options())


def _single(workload: str, choices: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Returns the workload, the shared settings and the value on each axis from the arguments for one network."""
    forget_files()
    named = workload_named(_name(workload))
    shared = {field.name for field in dataclasses.fields(Shared)}
    axes = {axis.name: axis for axis in (*AXES, *named.axes)}
    for name in choices:
        if name not in shared and name not in axes:
            raise nearest_name("argument", name, (*axes, *shared, *_OUTPUT))
    given = {name: value for name, value in choices.items() if value is not None}
    return (
        workload,
        typed_fields(Spec, {name: value for name, value in given.items() if name in shared}),
        {name: typed_value(name, value, axes[name].kind) for name, value in given.items() if name in axes},
    )


def report(folder: Path | str, *, progress: bool = True, data_dir: Path | str | None = None, **reading: Any) -> Results:
    """Analyzes a results folder again, without training. An unfinished sweep is analyzed as far as it is trained.

    Args:
        folder: results folder of a sweep.
        progress: whether to show the progress of measuring, if the study measures networks.
        data_dir: folder of data sets, searched before the cache; needed if networks are still to be measured.
        reading: ``select``, ``at``, ``samples``, see ``widebasin report --help``.

    Raises:
        UsageError: if the folder contains no sweep.
        SweepError: if the folder is damaged.
    """
    _check_names(reading, Options, "progress", "data_dir")
    look_in(None if data_dir is None else _path("data_dir", data_dir))
    where = _folder(folder)
    options = Options(**reading)
    return _results(write_answer(where, options, tracker(Console(), not progress)), where, options)


def measure(
    folder: Path | str, *, progress: bool = True, data_dir: Path | str | None = None, **choices: Any
) -> Results:
    """Measures the curvature of trained networks whose parameters were kept.

    Args:
        folder: results folder of their sweep.
        progress: whether to show progress.
        data_dir: folder of data sets; searched before the cache.
        choices: how to measure (``samples``, ``multiples``, ``sharpness_rho``) and which networks, by default all
            (``width``, ``method``, ``rho``, ``seed`` ...), see ``widebasin measure --help``.

    Returns:
        Results; the numbers are in ``measured``.

    Raises:
        UsageError, SweepError: see ``widebasin.studies.answering.write_answer``.
    """
    look_in(None if data_dir is None else _path("data_dir", data_dir))
    keep_compiled_programs()
    where = _folder(folder)
    names = [axis.name for axis in where.spec().axes]
    which = {name: choices.pop(name) for name in names if name in choices}
    _check_names(choices, Measures, *names)
    if "multiples" in choices:
        choices["multiples"] = tuple(map(float, np.atleast_1d(choices["multiples"])))
    measures = Measures(**choices)
    found = write_answer(where, measures, tracker(Console(), not progress), MEASURED, which)
    return _results(found, where, measures)


def status(folder: Path | str) -> Status:
    """The progress of a sweep, which another process may be training. Raises the same errors as ``report``."""
    return status_of(_folder(folder))


def compare(
    *folders: Path | str, select: Split = "valid", at: Epoch = "final", out: Path | str | None = None
) -> Results:
    """Compares finished sweeps: their gains, and the differences of gains and slopes, paired by common seeds.

    Args:
        folders: two or more results folders.
        select: split on which radii are chosen.
        at: ``final`` epoch, or the ``best`` epoch on the validation split.
        out: folder for the page ``compare.html`` and its figures; by default nothing is written.

    Returns:
        Results; ``measured["differences"]`` tells how much larger the gains are than in the first sweep.

    Raises:
        UsageError: if the sweeps cannot be compared.
        SweepError: if a sweep is unfinished or damaged.
    """
    options = Options(select, at)
    place = None if out is None else _path("out", out)
    if place is not None and (place / "spec.toml").exists():
        raise UsageError("out", str(out), "contains a sweep; choose another folder")
    if len(folders) == 1 and not isinstance(folders[0], (str, os.PathLike)):
        raise UsageError("folders", folders[0], "must be separate paths: compare(one, other)")
    sweeps = [_folder(folder) for folder in folders]
    found = comparing.compare(sweeps, options)
    if place is not None:
        comparing.write_comparison(found, sweeps, options, place)
    return Results(
        folder=place or sweeps[0].path,
        answer=found.answer,
        results=found.tables.results,
        history=found.tables.history,
        gains=found.gains,
        slopes=pd.DataFrame(),
        measured={"differences": found.differences},
    )


def _answer(
    start: Spec,
    choices: dict[str, Any],
    out: Path | str | None,
    overwrite: bool,
    extend_radii: bool,
    track: Sequence[str],
    progress: bool,
) -> Results:
    spec, options, execution = _asked(start, choices)
    path = RESULTS / folder_name(spec) if out is None else _path("out", out)
    answered = train_and_answer(
        spec,
        options,
        execution,
        path,
        overwrite=overwrite,
        console=Console(),
        quiet=not progress,
        extend_radii=extend_radii,
        track=track,
    )
    if answered is None:  # another process that shares the sweep writes the same
        folder = ResultsFolder(path, patience=OTHERS)
        answered = write_answer(folder, options), folder
    return _results(*answered, options)


def _asked(start: Spec, choices: dict[str, Any]) -> tuple[Spec, Options, Execution]:
    """Splits the arguments of a study or sweep into the spec, the options of the analysis and the execution."""
    reading, how = (
        {field.name: choices.pop(field.name) for field in dataclasses.fields(kind) if field.name in choices}
        for kind in (Options, Execution)
    )
    if how.get("hosts") is not None:
        raise UsageError("hosts", how["hosts"], "is for commands, which are started on every host; leave it out")
    if how.get("data_dir") is not None:
        how["data_dir"] = _path("data_dir", how["data_dir"])
    look_in(how.get("data_dir"))
    forget_files()
    workload = _name(choices.get("workload", start.workload))
    base = fitted(dataclasses.replace(start, workload=workload), workload_named(workload).axes)
    others = [field.name for kind in (Options, Execution) for field in dataclasses.fields(kind)]
    _check_names(choices, type(base), *others, *_OUTPUT)
    return dataclasses.replace(base, **typed_fields(type(base), choices)), Options(**reading), Execution(**how)


# Arguments beside those of the spec, the reading and the execution.
_OUTPUT = ("out", "overwrite", "extend_radii", "track", "progress")


def _name(workload: Any) -> str:
    if not isinstance(workload, str):
        raise UsageError("workload", workload, "must be the name of a workload, or the path of your own file")
    return workload


def _path(argument: str, value: Any) -> Path:
    if not isinstance(value, (str, os.PathLike)):
        raise UsageError(argument, value, "must be a path")
    return Path(value)


def _folder(value: Any) -> ResultsFolder:
    return ResultsFolder(_path("folder", value), "folder")


def _check_names(given: Mapping[str, Any], kind: type, *others: str) -> None:
    known = [field.name for field in dataclasses.fields(kind)]
    for name in given:
        if name not in known:
            raise nearest_name("argument", name, (*known, *others))


def _results(answered: Answered, folder: ResultsFolder, options: Options | Measures) -> Results:
    tables = answered.tables
    gains, slopes = pd.DataFrame(), []
    # Of a part of a grid that is not whole there are none.
    if isinstance(options, Options) and (answered.study.compares or folder.is_finished()):
        with contextlib.suppress(NothingToPair):
            gains = gain_table(tables.results, tables.design, options.select, options.at)
            paired = paired_gains(tables.results, tables.design, options.select, options.at)
            for series in series_of(gains, paired, tables.wording):
                if (slope := slope_per_decade(series.paired)) is not None:
                    setting = {name: series.rows[name].iloc[0] for name in (*tables.design.varying(gains), "method")}
                    interval = {"slope": slope.mean, "low": slope.low, "high": slope.high, "seeds": slope.count}
                    slopes.append(setting | interval)
    return Results(
        folder=folder.path,
        answer=answered.answer,
        results=tables.results,
        history=tables.history,
        gains=gains,
        slopes=pd.DataFrame(slopes),
        measured=tables.measured,
    )


def _escaped(text: str) -> str:
    return html.escape(shown(text))
