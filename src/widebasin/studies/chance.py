"""Sentences about networks that never got beyond guessing: how many, and the gain without them."""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import pandas as pd

from widebasin.report.page import Answer
from widebasin.report.tables import Table, gain_decimals
from widebasin.report.wording import Wording
from widebasin.statistics.chance import at_chance, guessed
from widebasin.statistics.gains import gain_table, paired_gains
from widebasin.statistics.intervals import t_interval
from widebasin.studies.findings import unit_after
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables


def with_chance(answer: Answer, tables: Tables, options: Options, epochs: Sequence[str]) -> Answer:
    """Adds sentences about networks that ended at chance to an answer; returns it unchanged if none did.

    Args:
        answer: the answer of a study.
        tables: the tables of the sweep.
        options: how results are analyzed.
        epochs: those at which the report shows gains.
    """
    chance = tables.description.chance
    if chance is None:
        return answer
    stuck = at_chance(tables.results, tables.design, chance)
    if not stuck.any():
        return answer
    findings = [
        _count(stuck, chance, tables.wording),
        *(one for at in epochs for one in _gains(tables, stuck, options.select, at, len(epochs) > 1)),
    ]
    return replace(answer, findings=(*answer.findings, *findings), tables=(*answer.tables, _table(tables, stuck)))


def _count(stuck: pd.Series, chance: float, wording: Wording) -> str:
    metric = wording.metric
    most, guessing = (f"{metric.scale * value:.3g}{metric.unit}" for value in (guessed(chance), chance))
    return (
        f"{int(stuck.sum())} of {len(stuck)} networks ended at chance: a training {metric.title} of at most {most}, "
        f"where guessing reaches {guessing}; the last table has them by method and radius."
    )


def _gains(tables: Tables, stuck: pd.Series, select: str, at: str, several: bool) -> list[str]:
    """The gains at an epoch, named if there are several, without the seeds for which one of the two ended at chance."""
    design, wording = tables.design, tables.wording
    gains = gain_table(tables.results, design, select, at)
    paired = paired_gains(tables.results, design, select, at)
    marks = tables.results[[*design.identity]].assign(stuck=stuck)
    base = marks[marks["method"] == design.baseline].drop(columns=["method", "rho"])
    both = paired.merge(marks, on=[*design.identity]).merge(base, on=[*design.setting, "seed"], suffixes=("", "_base"))
    both = both.assign(stuck=both["stuck"] | both["stuck_base"])
    digits, settings = gain_decimals(wording.metric, gains), wording.design.varying(gains)
    changed = []
    for _, rows in both.groupby([*settings, "num_params", "width", "method"], sort=False):
        if rows["stuck"].any():
            network = wording.network(rows.iloc[0], settings)
            changed.append(f"{network}: {_without(rows, wording, digits)}")
    if not changed:
        return []
    subject = f"Gains at the {at} epoch" if several else "Gains"
    return [f"{subject} without the seeds in which a network compared ended so: {'; '.join(changed)}."]


def _without(rows: pd.DataFrame, wording: Wording, digits: int) -> str:
    left, unit = rows.loc[~rows["stuck"], "gain"], unit_after(wording.metric)
    if left.empty:
        return f"no seed is left (with them {_mean(rows['gain'], digits, unit)})"
    without = f"{_mean(left, digits, unit)} over {len(left)} of {len(rows)} seeds"
    return f"{without} (with them {_mean(rows['gain'], digits)})"


def _mean(gains: pd.Series, digits: int, unit: str = "") -> str:
    """The mean with its standard error; where a network diverged there is no finite one."""
    mean = t_interval(gains)
    return f"{mean.with_error(digits)}{unit}" if isfinite(mean.mean) else "no finite gain"


def _table(tables: Tables, stuck: pd.Series) -> Table:
    """Number of networks that ended at chance, by every column that varies except the seed."""
    wording, results = tables.wording, tables.results
    by = [*wording.design.varying(results), "width", "num_params", "method", "rho"]
    rows = [
        (*wording.cells(dict(zip(by, key, strict=True)), by), f"{int(group.sum())} of {len(group)}")
        for key, group in stuck.groupby([results[column] for column in by], sort=False)
        if group.any()
    ]
    note = "Their final training accuracy, with the labels trained on, is that of guessing, or nearly."
    return Table("Networks that ended at chance", (*wording.headings(by), "networks"), tuple(rows), note)
