"""From a results folder to its answer: tables on the terminal, figures and the page in the folder."""

import dataclasses
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
from rich.console import Console

from widebasin.report.page import Answer, image, page
from widebasin.studies.registry import study_of
from widebasin.studies.study import Options, Study, Tables
from widebasin.sweep import Resolved, UsageError, resolve, spec_toml
from widebasin.sweep.folder import ResultsFolder

Track = Callable[[Sequence[Any], str], Iterator[Any]]
"""(items, title) -> the same items, showing progress."""


def write_answer(folder: ResultsFolder, options: Options, track: Track | None = None) -> Answer:
    """Computes the answer from the tables in a folder and writes ``figures/`` and ``report.html``.

    Where the study measures its networks, those that are not measured yet are measured first.

    Args:
        folder: of a finished sweep.
        options: how to read it.
        track: shows the progress of measuring; silent by default.

    Raises:
        UsageError: if the folder holds no sweep.
        SweepError: if it is in use, its sweep is not finished, or a table is damaged.
    """
    options.check()
    spec = resolve(folder.spec())
    study = study_of(spec)
    study.check(spec)
    with folder.locked():
        tables = Tables(folder.results(), folder.history(), _measured(study, spec, folder, options, track))
        answer = study.answer(spec, tables, options)
        data = dict.fromkeys(environment["data"]["name"] for environment in folder.run_record()["environments"])
        setting = answer.setting[:1].upper() + answer.setting[1:]
        answer = dataclasses.replace(answer, setting=f"Data: {', '.join(data)}. {setting}")
        write_page(folder, "report.html", answer, spec_toml(spec), command(spec, options))
    return answer


def _measured(
    study: Study, spec: Resolved, folder: ResultsFolder, options: Options, track: Track | None
) -> dict[str, pd.DataFrame]:
    if study.instruments is None:
        return {}
    from widebasin.studies.measuring import measure
    from widebasin.sweep.networks import stored_networks

    networks = stored_networks(folder.path)
    return {one.name: measure(folder, one, networks, track) for one in study.instruments(spec, options)}


def write_page(folder: ResultsFolder, name: str, answer: Answer, spec: str, command: str) -> None:
    """Writes an answer's figures, as PNG and SVG, and its page into a results folder, which must be locked.

    Args:
        folder: of a sweep.
        name: of the page.
        answer: what to show.
        spec: as TOML.
        command: that computes it again.
    """
    images = {picture.name: image(picture.figure, "png") for picture in answer.pictures}
    for picture in answer.pictures:
        folder.write(f"figures/{picture.name}.png", images[picture.name])
        folder.write(f"figures/{picture.name}.svg", image(picture.figure, "svg"))
    record = folder.run_record()
    facts = _environment_facts(record["environments"]) + _plan_facts(record["plans"])
    folder.write(name, page(answer, images, facts, spec, command).encode())


def command(spec: Resolved, options: Options) -> str:
    """The command that trains a resolved spec and answers in the same reading: its study's, with what differs."""
    study = study_of(spec)
    words = ["widebasin", "study", study.name] if study.name else ["widebasin", "sweep"]
    given, usual = spec.given() | vars(options), _usual(study, spec.workload) | vars(Options())
    for name, value in given.items():
        if name != "study" and (value != usual.get(name) or (name == "workload" and value != study.spec.workload)):
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)


def _usual(study: Study, workload: str) -> dict[str, Any]:
    """The study's own spec on a workload, without what of it cannot be there, such as wrong labels."""
    unfit: dict[str, None] = {}
    while True:
        try:
            usual = resolve(dataclasses.replace(study.spec, workload=workload, **unfit)).given()
            return {name: value for name, value in usual.items() if name not in unfit}
        except UsageError as error:
            if error.argument in unfit:
                raise
            unfit[error.argument] = None


def print_answer(answer: Answer, folder: ResultsFolder, console: Console, page: str = "report.html") -> None:
    """Shows findings and tables, and says where the rest is."""
    console.print(answer.setting, style="dim", markup=False, highlight=False)
    for table in answer.tables:
        console.print(table.rich())
    for finding in answer.findings:
        console.print(f"• {finding}", markup=False, highlight=False)
    console.print(
        f"Page, figures and tables: {folder.path / page}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _environment_facts(environments: list[dict]) -> list[tuple[str, str]]:
    """Versions, platform and device; several values where a sweep was continued elsewhere."""
    flat = [
        {
            **e["versions"],
            "platform": e["platform"],
            "device": e["device"],
            "data": f"{e['data']['name']}, SHA-256 {e['data']['sha256'][:16]}",
        }
        for e in environments
    ]
    return [(name, ", then ".join(dict.fromkeys(e.get(name, "") for e in flat))) for name in flat[0]]


def _plan_facts(plans: dict[str, dict]) -> list[tuple[str, str]]:
    """Cells that are trained alike share a line."""
    cells: dict[str, list[str]] = {}
    for name, plan in plans.items():
        cells.setdefault(_plan_words(plan), []).append(name)
    return [("trained", f"{words}: {', '.join(names) if len(cells) > 1 else 'all'}") for words, names in cells.items()]


def _plan_words(plan: dict) -> str:
    at_once = plan["networks_at_once"]
    return f"{at_once} network{'s' if at_once > 1 else ''} at once, {plan['loop']} on {plan['platform']}"
