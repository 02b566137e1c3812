"""Answers a study from its results folder: tables on the terminal, figures and a page in the folder."""

import contextlib
import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from widebasin.data import DataError
from widebasin.report.drawing import own_style
from widebasin.report.explorer import Explored, explorer
from widebasin.report.gain_files import TITLES, gain_files
from widebasin.report.mechanism_tables import undecided
from widebasin.report.page import Answer, image, page
from widebasin.shown import say
from widebasin.statistics.readings import metrics_in, readings
from widebasin.studies.chance import with_chance
from widebasin.studies.measuring import Track, measure
from widebasin.studies.references import with_references
from widebasin.studies.registry import study_of
from widebasin.studies.study import Measures, Options, Study, check_curvature
from widebasin.studies.tables import Tables, tables_of
from widebasin.studies.tuning import with_trials
from widebasin.studies.unfinished import finished_part
from widebasin.sweep import Resolved, SweepError, UsageError, resolve, spec_toml, workload_named
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.networks import stored_networks
from widebasin.sweep.rows import rows_of_spec

# How the names of pages and figures begin while a sweep is not finished.
PARTIAL = "partial-"
EXPLORER = "explore.html"


@dataclass(frozen=True)
class Answered:
    """An answer with the data it was computed from.

    Attributes:
        answer: the findings, tables and figures.
        page: the file that shows it.
        tables: the tables of the sweep.
        study: the study that is answered.
        spec: the spec of the networks it covers.
        explorer: the interactive page with their results; empty for measurements.
    """

    answer: Answer
    page: str
    tables: Tables
    study: Study
    spec: Resolved
    explorer: str = ""

    def numbers(self) -> dict[str, list[dict[str, Any]]]:
        """The measurements as plain numbers: name of a table -> its rows.

        Stability verdicts also have ``undecided``: above 1 by no more than the tolerance.
        """
        measured = dict(self.tables.measured)
        if "stability" in measured:
            measured["stability"] = measured["stability"].assign(undecided=undecided(measured["stability"]))
        return {name: table.replace({np.nan: None}).to_dict("records") for name, table in measured.items()}  # pyright: ignore[reportReturnType]


def write_answer(
    folder: ResultsFolder,
    options: Options | Measures,
    track: Track | None = None,
    study: Study | None = None,
    which: Mapping[str, Any] | None = None,
) -> Answered:
    """Computes the answer from the tables in a folder and writes ``figures/`` and the page.

    If the study measures networks, those not yet measured are measured first; otherwise neither the workload nor its
    data are needed. For an unfinished sweep, the answer covers a part of the grid that is completely trained, and says
    so; it is written to ``partial-figures/`` and a separate page.

    Args:
        folder: results folder of a sweep.
        options: how to analyze the results.
        track: shows the progress of measuring; silent by default.
        study: the study to answer; by default the one that the sweep belongs to.
        which: the networks to measure, as column -> value; by default all.

    Raises:
        UsageError: if the folder contains no sweep or no such network, or the curvature of its networks cannot be
            measured.
        SweepError: if it is in use, no network is trained, parameters were not kept, or a table is damaged.
    """
    options.check()
    spec = folder.spec()
    study = study or study_of(spec)
    if not folder.is_finished():
        return _write_partial(folder, spec, options, track, study, which or {})
    with folder.locked(), own_style():
        tables = _tables(folder.results(), folder.history(), folder, study, options)
        answered = _answered(folder, spec, tables, options, track, study, which or {})
        _write_page(folder, answered, spec, options, which or {})
        folder.remove_partial()
    return answered


def _write_partial(
    folder: ResultsFolder,
    spec: Resolved,
    options: Options | Measures,
    track: Track | None,
    study: Study,
    which: Mapping[str, Any],
) -> Answered:
    """Answers from the finished part of an unfinished sweep, marked as such."""
    results, again = folder.finished_results(spec), continuing(folder)
    # A process that trains holds the folder, and no other one may write measurements then.
    holder = folder.holder()
    if results.empty:
        remedy = f"{holder} is training it; wait for the first networks" if holder else f"continue it with: {again}"
        raise SweepError(f"the sweep in {folder.path} is not finished: {folder.progress(0)}; {remedy}")
    if len(results) == len(rows_of_spec(spec)) and not holder:
        raise SweepError(
            f"all networks in {folder.path} are trained, but its tables are not there: make them with {again}"
        )
    measuring = isinstance(options, Measures)
    progress = folder.progress(len(results))
    if holder and measuring:
        raise SweepError(f"{folder.path} is in use by {holder} ({progress}); measure after it has ended")
    part = (study, spec, results) if measuring else finished_part(spec, study, results, measurable=not holder)
    chosen, smaller, results = part
    history = folder.finished_history(spec)
    identity = [axis.name for axis in spec.axes]
    history = history.merge(results[identity], on=identity)
    tables = _tables(results, history, folder, chosen, options)
    with folder.locked() if chosen.measures else contextlib.nullcontext(), own_style():
        answered = _answered(folder, smaller, tables, options, track, chosen, which)
        marked = dataclasses.replace(
            answered.answer,
            title=f"Not finished: {answered.answer.title}",
            findings=(_partial_note(progress, spec, smaller, results, holder, again), *answered.answer.findings),
        )
        explorer = f"{PARTIAL}{EXPLORER}" if answered.explorer else ""
        answered = dataclasses.replace(answered, answer=marked, page=f"{PARTIAL}{answered.page}", explorer=explorer)
        _write_page(folder, answered, smaller, options, which)
    return answered


def _partial_note(
    progress: str, spec: Resolved, smaller: Resolved, results: pd.DataFrame, holder: str, again: str
) -> str:
    """What a partial answer covers, and how to continue the sweep."""
    different = [
        f"{axis.flag.replace('_', ' ')} {' '.join(map(str, smaller.values(axis)))}"
        for axis in spec.axes
        if smaller.values(axis) != spec.values(axis)
    ]
    shown_of = f", those of {' and '.join(different)}" if different else ""
    going_on = f"{holder} trains the others." if holder else f"Continue it with: {again}"
    return (
        f"The sweep is not finished: {progress}, and this is the answer of {len(results)} of them{shown_of}. {going_on}"
    )


def _tables(
    results: pd.DataFrame, history: pd.DataFrame, folder: ResultsFolder, study: Study, options: Options | Measures
) -> Tables:
    """The tables for a study: if it compares methods, of tuned settings only the chosen ones."""
    chooses = options if study.compares and isinstance(options, Options) else None
    return tables_of(results, history, folder.description(), chooses)


def _answered(
    folder: ResultsFolder,
    spec: Resolved,
    tables: Tables,
    options: Options | Measures,
    track: Track | None,
    study: Study,
    which: Mapping[str, Any],
) -> Answered:
    """Answers a study from tables."""
    if study.measures:
        found = _measured(study, spec, folder, tables, options, which, track)
        tables = dataclasses.replace(tables, measured=found)
    answer = study.answer(spec, tables, options)
    if isinstance(options, Options):
        tried = {axis.name: {method: spec.tried_by(method, axis) for method in spec.methods} for axis in spec.tuned}
        answer = with_trials(answer, tables, tried)
        answer = with_references(with_chance(answer, tables, options, study.epochs_of_gains(options)), tables)
    setting = answer.setting[:1].upper() + answer.setting[1:]
    answer = dataclasses.replace(answer, setting=f"Data: {tables.description.data}. {setting}")
    explorer = EXPLORER if isinstance(options, Options) else ""
    return Answered(answer, study.page, tables, study, spec, explorer)


def _measured(
    study: Study,
    spec: Resolved,
    folder: ResultsFolder,
    tables: Tables,
    options: Options | Measures,
    which: Mapping[str, Any],
    track: Track | None,
) -> dict[str, pd.DataFrame]:
    """Name of an instrument -> its measurements of the selected networks."""
    results = tables.results
    chosen = results[np.logical_and.reduce([np.ones(len(results), bool), *(results[c] == v for c, v in which.items())])]
    if chosen.empty:
        stored_networks(folder.path, **which)  # says which there are
    if study.curvature:
        check_curvature(spec, streamed=tables.description.streamed, sparsities=chosen["sparsity"])
    instruments = study.instruments(spec, options)
    return {one.name: measure(folder, one, chosen, tables.design, track) for one in instruments}


def _write_page(
    folder: ResultsFolder, answered: Answered, spec: Resolved, options: Options | Measures, which: Mapping[str, Any]
) -> None:
    """Writes an answer's figures and its pages into its results folder."""
    record = folder.run_record()
    facts = _environment_facts(record["environments"]) + _plan_facts(record["plans"])
    if isinstance(options, Measures):
        again = measure_command(folder, options, which)
    else:
        # An imported network was trained elsewhere: the sweep of its spec would train another one.
        again = "" if record.get("imported") else command(spec, options)
    figures = f"{PARTIAL if answered.page.startswith(PARTIAL) else ''}figures"
    write_page(folder, answered.answer, answered.page, figures, facts, spec_toml(spec), again, answered.explorer)
    if isinstance(options, Options):
        _write_explorer(folder, answered, options)


def _write_explorer(folder: ResultsFolder, answered: Answered, options: Options) -> None:
    """Writes the interactive page and, for a finished sweep with gains, the files of gains."""
    tables, answer = answered.tables, answered.answer
    results, wording = tables.results, tables.wording
    metrics = metrics_in(results, tables.description.metrics)
    # Of a part of a grid that is not whole, radii would be chosen from more seeds of one than of another.
    whole = folder.is_finished() or len(results) == len(rows_of_spec(answered.spec))
    read = readings(results, tables.design, metrics) if whole else ()
    epochs = answered.study.epochs_of_gains(options)
    contents = gain_files(read, wording, options.select, epochs) if read and folder.is_finished() else {}
    for name, content in contents.items():
        folder.write(f"tables/{name}", content)
    explored = Explored(
        title=answer.title,
        setting=answer.setting,
        results=results,
        history=tables.history,
        wording=wording,
        metrics=metrics,
        readings=read,
        select=options.select,
        at=options.at,
        report=answered.page,
        files={TITLES[name.rpartition(".")[2]]: f"tables/{name}" for name in contents},
    )
    folder.write(answered.explorer, explorer(explored).encode())


def write_page(
    folder: ResultsFolder,
    answer: Answer,
    name: str,
    figures: str,
    facts: Sequence[tuple[str, str]],
    spec: str,
    again: str,
    explorer: str = "",
) -> None:
    """Writes an answer as files.

    Args:
        folder: where to write.
        answer: what to write.
        name: name of the page.
        figures: name of the folder for its figures, as PNG and SVG.
        facts: see ``report.page.page``.
        spec: the spec of the sweep, as TOML.
        again: the command that repeats the analysis; empty if there is none.
        explorer: name of the interactive page to link to, if any.
    """
    images = {picture.name: image(picture.figure, "png") for picture in answer.pictures}
    for picture in answer.pictures:
        folder.write(f"{figures}/{picture.name}.png", images[picture.name])
        folder.write(f"{figures}/{picture.name}.svg", image(picture.figure, "svg"))
    folder.write(name, page(answer, images, facts, spec, again, explorer).encode())


def command(spec: Resolved, options: Options) -> str:
    """The command that trains a resolved spec and analyzes it with these options: the study's, with flags that differ.

    Settings equal to the workload's own recipe are left out if the workload is available.
    """
    study = study_of(spec)
    words = ["widebasin", "study", study.name] if study.name else ["widebasin", "sweep"]
    usual = _usual(study, spec.workload)
    for name, value in spec.given().items():
        if name != "study" and (value != usual.get(name) or (name == "workload" and value != study.spec.workload)):
            words += _flag(name, value)
    return shlex.join([*words, *flags(options)])


def continuing(folder: ResultsFolder) -> str:
    """The command that continues the sweep in a folder."""
    told = ["--track", *folder.trackers()] if folder.trackers() else []
    keeping = ["--keep-parameters"] if folder.keeps_parameters() else []
    return f"{command(folder.spec(), Options())} {shlex.join(['--out', str(folder.path), *keeping, *told])}"


def measure_command(folder: ResultsFolder, measures: Measures, which: Mapping[str, Any]) -> str:
    """The command that repeats a measurement of the networks in a folder."""
    words = [word for name, value in which.items() for word in _flag(name, value)]
    return shlex.join(["widebasin", "measure", str(folder.path), *words, *flags(measures)])


def flags(options: Options | Measures) -> list[str]:
    """The flags that differ from the defaults."""
    given, usual = vars(options), vars(type(options)())
    return [word for name, value in given.items() if value != usual[name] for word in _flag(name, value)]


def _flag(name: str, value: Any) -> list[str]:
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{name.replace('_', '-')}", *(f"{v:.12g}" if isinstance(v, float) else str(v) for v in values)]


def _usual(study: Study, workload: str) -> dict[str, Any]:
    """The study's own spec on a workload, resolved without its data; as declared if there is no such workload.

    Values that the workload does not allow are left out.
    """
    declared = {name: value for name, value in vars(study.spec).items() if value is not None}
    unfit: dict[str, None] = {}
    while True:
        try:
            noise = study.spec.label_noise or (workload_named(workload).label_noise,)
            # Whether labels can be wrong is known of the data alone.
            plain = dataclasses.replace(study.spec, workload=workload, label_noise=(0.0,), **unfit)
            usual = resolve(plain).given() | {"label_noise": noise}
            return {name: value for name, value in usual.items() if name not in unfit}
        except DataError:
            return declared
        except UsageError as error:
            if error.argument == "workload":
                return declared
            if error.argument in unfit:
                raise
            unfit[error.argument] = None


def print_answer(answered: Answered, folder: ResultsFolder, console: Console) -> None:
    """Prints findings and tables, and the paths of the page and figures."""
    print_findings(answered.answer, console)
    say(console, f"Page, figures and tables: {folder.path / answered.page}")
    if answered.explorer:
        say(console, f"To explore: {folder.path / answered.explorer}")


def print_findings(answer: Answer, console: Console) -> None:
    """Prints setting, tables and findings."""
    say(console, answer.setting, "dim", whole=False)
    for table in answer.tables:
        console.print(table.rich())
    for finding in answer.findings:
        say(console, f"• {finding}", whole=False)


def _environment_facts(environments: list[dict]) -> list[tuple[str, str]]:
    """Versions, platform and device; several values if a sweep was continued elsewhere."""
    flat = [
        {
            **e["versions"],
            "platform": e["platform"],
            "device": e["device"],
            **{name: value for name, value in e.get("settings", {}).items() if value},
            "data": f"{e['data']['name']}, SHA-256 {e['data']['sha256'][:16]}",
        }
        for e in environments
    ]
    return [(name, ", then ".join(dict.fromkeys(e.get(name, "") for e in flat))) for name in flat[0]]


def _plan_facts(plans: dict[str, dict]) -> list[tuple[str, str]]:
    """One line for all cells that are trained in the same way."""
    cells: dict[str, list[str]] = {}
    for name, plan in plans.items():
        cells.setdefault(_plan_words(plan), []).append(name)
    return [("trained", f"{words}: {', '.join(names) if len(cells) > 1 else 'all'}") for words, names in cells.items()]


def _plan_words(plan: dict) -> str:
    at_once = plan["networks_at_once"]
    return f"{at_once} network{'s' if at_once > 1 else ''} at once, {plan['loop']} on {plan['platform']}"
