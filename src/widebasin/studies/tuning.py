"""The settings that were chosen on validation, beside an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from widebasin.report.page import Answer
from widebasin.report.tables import Table
from widebasin.report.wording import Wording
from widebasin.studies.tables import Tables


def with_trials(answer: Answer, tables: Tables, tried: Mapping[str, Mapping[str, Sequence]]) -> Answer:
    """Adds the chosen values of tuned settings to an answer; returns it unchanged if nothing was tuned.

    Args:
        answer: the answer of a study.
        tables: the tables of the sweep.
        tried: column of a tuned setting -> method -> the values that it tried.
    """
    if tables.trials is None:
        return answer
    edges = [
        sentence
        for column, values in tried.items()
        for method, mine in values.items()
        for sentence in _edges(tables.trials[tables.trials["method"] == method], column, mine, tables.wording)
    ]
    table = _table(tables.trials, list(tried), tables.wording)
    return replace(answer, findings=(*answer.findings, *edges), tables=(*answer.tables, table))


def _edges(chosen: pd.DataFrame, column: str, values: Sequence, wording: Wording) -> list[str]:
    """Where the chosen value of a setting is the largest or smallest tried, so that one beyond may do better."""
    if isinstance(values[0], str) or chosen.empty:
        return []
    name, method = column.replace("_", " "), wording.method(chosen["method"].iloc[0])
    sentences = []
    for edge, word, other in ((max(values), "largest", "larger"), (min(values), "smallest", "smaller")):
        at = int((chosen[column] == edge).sum())
        # None at all is no edge.
        if at and edge != 0:
            sentences.append(
                f"The chosen {name} of {method} is the {word} tried ({wording.value(column, edge)}) at {at} of "
                f"{len(chosen)} sizes and settings: a {other} one may do better."
            )
    return sentences


def _table(chosen: pd.DataFrame, tuned: Sequence[str], wording: Wording) -> Table:
    by = [*wording.design.varying(chosen), "width", "num_params", "method", *tuned, "rho"]
    rows = tuple((*wording.cells(row, by), str(row["trials"])) for row in chosen.to_dict("records"))
    note = "Chosen by the mean over seeds. Everything else in this report is about networks with these settings."
    return Table("Settings chosen for every width and method", (*wording.headings(by), "trials"), rows, note)
