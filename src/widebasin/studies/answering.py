"""From a results folder to its answer: tables on the terminal, figures and the page in the folder."""

import shlex

from rich.console import Console

from widebasin.report.page import Answer, image, page
from widebasin.studies.registry import study_of
from widebasin.studies.study import Options
from widebasin.sweep import resolve, spec_toml
from widebasin.sweep.folder import ResultsFolder


def write_answer(folder: ResultsFolder, options: Options) -> Answer:
    """Computes the answer from the tables in a folder and writes ``figures/`` and ``report.html``."""
    spec = resolve(folder.spec())
    study = study_of(spec)
    study.check(spec, options)
    answer = study.answer(spec, folder.results(), folder.history(), options)
    drawn = {
        f"{picture.name}.{kind}": image(picture.figure, kind) for picture in answer.pictures for kind in ("png", "svg")
    }
    for name, content in drawn.items():
        folder.write(f"figures/{name}", content)
    for path in (folder.path / "figures").iterdir():
        if path.name not in drawn:  # of another reading of the results
            path.unlink()
    record = folder.run_record()
    facts = [*record["versions"].items(), ("platform", record["platform"]), ("device", record["device"])]
    facts += _plan_facts(record["plans"])
    html = page(answer, facts, spec_toml(spec), shlex.join(record["command"]))
    folder.write("report.html", html.encode())
    return answer


def print_answer(answer: Answer, folder: ResultsFolder, console: Console) -> None:
    """Shows findings and tables, and says where the rest is."""
    for table in answer.tables:
        console.print(table.rich())
    for finding in answer.findings:
        console.print(f"• {finding}", markup=False, highlight=False)
    console.print(
        f"Page, figures and tables: {folder.path / 'report.html'}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _plan_facts(plans: dict[str, dict]) -> list[tuple[str, str]]:
    """Cells that are trained alike share a line."""
    cells: dict[str, list[str]] = {}
    for name, plan in plans.items():
        cells.setdefault(_plan_words(plan), []).append(name)
    return [("trained", f"{words}: {', '.join(names) if len(cells) > 1 else 'all'}") for words, names in cells.items()]


def _plan_words(plan: dict) -> str:
    at_once = plan["replicates_at_once"]
    return f"{at_once} network{'s' if at_once > 1 else ''} at once, {plan['loop']} on {plan['platform']}"
