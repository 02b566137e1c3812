"""Compares finished sweeps: their gains and the differences between them, paired by seed where seeds are shared."""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from widebasin.report import figures
from widebasin.report.drawing import own_style
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import Table, gain_decimals, gains_table
from widebasin.report.wording import Wording
from widebasin.statistics import BASELINE
from widebasin.statistics.gains import gain_table, paired_gains, rounding_of_gains
from widebasin.statistics.intervals import NONE, t_interval
from widebasin.statistics.trends import seeds_compared, slope_difference
from widebasin.studies.answering import flags, write_page
from widebasin.studies.answers.overparam import GAIN
from widebasin.studies.findings import selection_note, slope_words, trends, unit_after, verdict_on
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables, tables_of
from widebasin.sweep import UsageError, spec_toml
from widebasin.sweep.description import AxisFacts, Description, MethodFacts
from widebasin.sweep.folder import ResultsFolder

# The column that says which sweep a network is of.
SWEEP = "sweep"
QUESTION = "How do the gains of these sweeps differ?"


def labels_of(folders: Sequence[ResultsFolder]) -> list[str]:
    """The shortest parts of the folders' paths that distinguish them."""
    paths = [Path(folder.path).resolve() for folder in folders]
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise UsageError("folders", [str(folder.path) for folder in folders], "must be different folders")


@dataclass(frozen=True)
class Compared:
    """The comparison of several sweeps.

    Attributes:
        answer: findings, tables and figures.
        tables: results and history of all sweeps, with a column ``sweep``.
        gains: rows of ``gain_table`` for all sweeps.
        differences: one row per method, size and sweep except the first: ``difference``, how much larger the gain is
            than in the first sweep, with ``low`` and ``high`` of its t interval over the ``seeds`` that both have.
    """

    answer: Answer
    tables: Tables
    gains: pd.DataFrame
    differences: pd.DataFrame


def compare(folders: Sequence[ResultsFolder], options: Options) -> Compared:
    """Compares finished sweeps.

    Args:
        folders: two or more results folders of sweeps with the same main metric, each with the baseline and another
            method.
        options: how to analyze the results.

    Raises:
        UsageError: if there are fewer than two, a folder is given twice, or the sweeps cannot be compared.
        SweepError: if a sweep is unfinished or damaged.
    """
    options.check()
    if len(folders) < 2:
        raise UsageError("folders", [str(folder.path) for folder in folders], "give two or more to compare")
    labels = labels_of(folders)
    tables = _together(folders, labels, options)
    wording = tables.wording.read_by(**{SWEEP: "sweep {}"})
    for label, rows in tables.results.groupby(SWEEP, sort=False):
        methods = set(rows["method"])
        if wording.design.baseline not in methods or len(methods) < 2:
            raise UsageError("folders", label, "must have networks of sgd and of another method, to have gains")
    gains = gain_table(tables.results, wording.design, options.select, options.at)
    paired = paired_gains(tables.results, wording.design, options.select, options.at)
    differences, digits = _differences(paired, labels), gain_decimals(wording.metric, gains)
    with own_style():
        pictures = (
            Picture("gain", GAIN, figures.gain_against_parameters(gains, wording)),
            Picture(
                "test",
                f"Test {wording.metric.title} against the number of parameters",
                figures.metric_against_parameters(gains, wording),
            ),
        )
    answer = Answer(
        title=f"Sweeps side by side: {', '.join(labels)}",
        question=QUESTION,
        setting=" ".join(_setting(label, folder) for label, folder in zip(labels, folders, strict=True)),
        findings=(
            *trends(gains, paired, wording, {}),
            *_slopes(paired, wording, labels, digits),
            *_unpaired(paired, differences, labels),
            selection_note(options, tables),
        ),
        tables=(
            gains_table(gains, wording),
            *([] if differences.empty else [_differences_table(differences, wording, labels, digits)]),
        ),
        pictures=pictures,
    )
    return Compared(answer, tables, gains, differences)


def write_comparison(found: Compared, folders: Sequence[ResultsFolder], options: Options, out: Path) -> None:
    """Writes the page ``compare.html`` and its figures into a folder."""
    specs = "\n".join(f"# {folder.path}\n{spec_toml(folder.spec())}" for folder in folders)
    paths = [str(folder.path) for folder in folders]
    again = shlex.join(["widebasin", "compare", *paths, *flags(options), "--out", str(out)])
    with own_style():
        write_page(ResultsFolder(out), found.answer, "compare.html", "figures", (), specs, again)


def _together(folders: Sequence[ResultsFolder], labels: Sequence[str], options: Options) -> Tables:
    """The tables of all sweeps, with a column for the sweep."""
    descriptions = [folder.description() for folder in folders]
    first = descriptions[0]
    for label, one in zip(labels, descriptions, strict=True):
        if one.metric != first.metric:
            mine, other = one.metric.title, first.metric.title
            raise UsageError(
                "folders", label, f"has metric {mine}, but {labels[0]} has {other}; compare sweeps with equal metrics"
            )
    axes = {axis.column: axis for one in descriptions for axis in one.axes}
    each = [
        tables_of(folder.results(), folder.history(), one, options)
        for folder, one in zip(folders, descriptions, strict=True)
    ]
    tables = [(one.results, one.history) for one in each]
    for axis in dict.fromkeys(axis for one in descriptions for axis in one.tuned):
        if axis.column in axes:
            _check_untuned(axis.column, each, labels)
            del axes[axis.column]
    for name, axis in axes.items():
        # In words, as one that a sweep lacks has no value there.
        if any(name not in results for results, _ in tables):
            tables = [(_in_words(results, axis), _in_words(history, axis)) for results, history in tables]
            axes[name] = dataclasses.replace(axis, percent=False)
    together = (
        pd.concat([each.assign(**{SWEEP: label}) for label, each in zip(labels, part, strict=True)], ignore_index=True)
        for part in zip(*tables, strict=True)
    )
    said: Description = dataclasses.replace(
        first,
        axes=tuple(axes.values()),
        methods=_methods(descriptions),
        published=None,
    )
    return Tables(*together, said)


def _check_untuned(column: str, tables: Sequence[Tables], labels: Sequence[str]) -> None:
    """Raises ``UsageError`` if a sweep compares several values of a setting that another one tunes."""
    for label, one in zip(labels, tables, strict=True):
        tuned = column in [axis.column for axis in one.description.tuned]
        if not tuned and column in one.results and one.results[column].nunique() > 1:
            name = column.replace("_", " ")
            raise UsageError("folders", label, f"has several values of {name}, which another sweep tunes")


def _in_words(table: pd.DataFrame, axis: AxisFacts) -> pd.DataFrame:
    """The table with the values of an axis as text, ``none`` if it has no such axis."""
    if axis.column not in table:
        return table.assign(**{axis.column: "none"})
    scale, unit = (100, "%") if axis.percent else (1, "")
    words = [f"{scale * value:.6g}{unit}" if isinstance(value, float) else str(value) for value in table[axis.column]]
    return table.assign(**{axis.column: words})


def _methods(descriptions: Sequence[Description]) -> dict[str, MethodFacts]:
    """Methods with their titles if all sweeps use the same ones, else with their names, as for two base optimizers."""
    found = {name: facts for one in descriptions for name, facts in one.methods.items()}
    for name, facts in found.items():
        if {one.methods[name].title for one in descriptions if name in one.methods} != {facts.title}:
            found[name] = dataclasses.replace(facts, title="the baseline" if name == BASELINE else name)
    return found


def _setting(label: str, folder: ResultsFolder) -> str:
    description = folder.description()
    return f"{label}: {'; '.join((description.data, description.title, *description.recipe))}."


def _differences(paired: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    columns = ["num_params", "method"]
    if not _one_setting_each(paired):
        return pd.DataFrame(columns=[*columns, SWEEP, "difference", "low", "high", "seeds"])
    rows = []
    for (size, method), group in paired.groupby(columns, sort=False):
        by_seed = group.pivot_table(index="seed", columns=SWEEP, values="gain", dropna=False)
        for other in labels[1:]:
            if {labels[0], other} <= set(by_seed):
                seeds = [set(group.loc[group[SWEEP] == label, "seed"]) for label in (labels[0], other)]
                values = (by_seed[other] - by_seed[labels[0]]).loc[sorted(set.intersection(*seeds))]
                # Without the seeds that diverged it would be a difference of survivors.
                if len(values) and np.isfinite(values).all():
                    one = t_interval(values, rounding=rounding_of_gains(group))
                    found = {"difference": one.mean, "low": one.low, "high": one.high, "seeds": one.count}
                    rows.append({"num_params": size, "method": method, SWEEP: other} | found)
    return pd.DataFrame(rows, columns=[*columns, SWEEP, "difference", "low", "high", "seeds"])


def _unpaired(paired: pd.DataFrame, differences: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """Which sweeps have no gain that is paired with one of the first sweep, and why."""
    first, *others = (paired[paired[SWEEP] == label] for label in labels)
    sentences = []
    for label, other in zip(labels[1:], others, strict=True):
        if (differences[SWEEP] == label).any():
            continue
        if not _one_setting_each(paired):
            why = "a sweep has several settings of one method and size"
        elif not _in_common(first, other, ["method"]):
            why = "they have no method in common"
        elif not _in_common(first, other, ["method", "num_params"]):
            why = "they have no number of parameters in common at equal methods"
        elif not _in_common(first, other, ["method", "num_params", "seed"]):
            why = "they have no seed in common at equal methods and numbers of parameters"
        else:
            why = "the networks that could be paired diverged"
        sentences.append(f"No gain of {label} is paired with one of {labels[0]}: {why}.")
    return sentences


def _in_common(one: pd.DataFrame, other: pd.DataFrame, columns: list[str]) -> bool:
    """Whether some row of each has the same values in these columns."""
    return not one[columns].merge(other[columns]).empty


def _one_setting_each(paired: pd.DataFrame) -> bool:
    """Whether every sweep has exactly one gain per size, method and seed."""
    return not paired.duplicated(["num_params", "method", "seed", SWEEP]).any()


def _differences_table(differences: pd.DataFrame, wording: Wording, labels: Sequence[str], digits: int) -> Table:
    rows = []
    for row in differences.to_dict("records"):
        # Of one seed, or equal differences, there is none.
        interval = f"{row['low']:.{digits}f} to {row['high']:.{digits}f}" if np.isfinite(row["low"]) else NONE
        rows.append(
            (
                f"{row['num_params']:,}",
                wording.method(row["method"]),
                str(row[SWEEP]),
                f"{row['difference']:+.{digits}f}",
                interval,
                str(row["seeds"]),
            )
        )
    return Table(
        title=f"How much larger the gain is than in {labels[0]}",
        columns=("parameters", "method", "sweep", f"difference{unit_after(wording.metric)}", "95% interval", "seeds"),
        rows=tuple(rows),
        note="Paired by the seeds that both have, at equal numbers of parameters; where a sweep has several settings "
        "of one size, nothing is paired; where a network compared diverged, there is no row.",
    )


def _slopes(paired: pd.DataFrame, wording: Wording, labels: Sequence[str], digits: int) -> list[str]:
    """How the slopes differ from the slope of the first sweep."""
    if not _one_setting_each(paired):
        return []
    sentences = []
    for method in dict.fromkeys(paired["method"]):
        mine = paired[paired["method"] == method]
        for other in labels[1:]:
            both = mine[mine[SWEEP] == labels[0]], mine[mine[SWEEP] == other]
            change = slope_difference(*both)
            if change is not None:
                compared = seeds_compared(*both)
                seeds = "beyond the spread of the seeds"
                verdict = verdict_on(
                    change,
                    compared,
                    up=f"higher {seeds}",
                    down=f"lower {seeds}",
                    neither=f"no different {seeds}",
                    unknown="no verdict",
                )
                sentences.append(
                    f"The slope of the gain of {wording.method(method)} in {other} less that in {labels[0]}: "
                    f"{slope_words(change, wording.metric, digits, compared)}: {verdict}."
                )
    return sentences
