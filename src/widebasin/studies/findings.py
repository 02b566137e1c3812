"""Findings in words, with their numbers, computed from the results and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from widebasin.report import statistics
from widebasin.report.drawing import method_name, setting_name, setting_value
from widebasin.report.statistics import Interval, Metric, varying
from widebasin.report.tables import gain_decimals
from widebasin.studies.study import Options
from widebasin.sweep import Resolved
from widebasin.workloads import WORKLOADS


@dataclass(frozen=True)
class Series:
    """One method in one setting, in order of size.

    Attributes:
        method: as written in text.
        setting: in words; empty if there is one only.
        name: what tells it from the others.
        rows: of ``statistics.gain_table``.
        paired: rows of ``statistics.paired_gains``.
    """

    method: str
    setting: str
    name: str
    rows: pd.DataFrame
    paired: pd.DataFrame


def series_of(gains: pd.DataFrame, paired: pd.DataFrame) -> list[Series]:
    """Every method in every setting."""
    settings = varying(gains)
    columns = [*settings, "method"]
    found = []
    for key, rows in gains.groupby(columns, sort=False):
        mine = paired[np.logical_and.reduce([paired[c] == v for c, v in zip(columns, key, strict=True)])]
        method, setting = method_name(key[-1]), setting_name(rows.iloc[0], settings)
        parts = [method] if not setting else [method, setting] if gains["method"].nunique() > 1 else [setting]
        found.append(Series(method, setting, " at ".join(parts), rows.sort_values("num_params"), mine))
    return found


def trends(
    gains: pd.DataFrame, paired: pd.DataFrame, metric: Metric, baseline: str, radii: Sequence[float]
) -> list[str]:
    """How gain and chosen radius move with the number of parameters: a sentence per method and setting, then of all.

    Args:
        gains: rows of ``statistics.gain_table``.
        paired: rows of ``statistics.paired_gains``.
        metric: of the gains.
        baseline: the method over which they are measured.
        radii: all that were tried.
    """
    series = series_of(gains, paired)
    digits = gain_decimals(metric, gains)
    sentences = [_gain_sentence(one, metric, method_name(baseline), digits) for one in series]
    sentences += _radius_sentences(series, radii)
    # Networks that are compared several times, or read at several epochs, are counted once.
    settings = ["width", "num_params", *(column for column in varying(gains) if column != "stopped")]
    others = gains.drop_duplicates([*settings, "method", "rho_star"])
    diverged = int(others["diverged"].sum() + gains.drop_duplicates(settings)["baseline_diverged"].sum())
    if diverged:
        sentences.append(f"{diverged} of the networks compared diverged; what they reached before is in the history.")
    return sentences


def slope_change(gains: pd.DataFrame, paired: pd.DataFrame, metric: Metric, column: str) -> list[str]:
    """For every method, how the slope of the gain differs between the ends of a column of the setting.

    Args:
        gains: rows of ``statistics.gain_table``.
        paired: rows of ``statistics.paired_gains``.
        metric: of the gains.
        column: of numbers, such as ``label_noise``; other columns of the setting must have one value.
    """
    if varying(gains) != [column]:
        return []
    low, high = gains[column].min(), gains[column].max()
    digits = gain_decimals(metric, gains)
    sentences = []
    for method in dict.fromkeys(gains["method"]):
        mine = paired[paired["method"] == method]
        change = statistics.slope_difference(mine[mine[column] == low], mine[mine[column] == high])
        if change is None:
            continue
        name = column.replace("_", " ")
        ends = setting_value(column, low), setting_value(column, high)
        at = tuple(f"when {name} {end}" if column in statistics.READINGS else f"at {end}" for end in ends)
        verdict = _verdict(
            change,
            f"it grows faster {at[1]}",
            f"it grows faster {at[0]}",
            "no difference beyond the spread of the seeds",
            "no verdict",
        )
        sentences.append(
            f"From {name} {ends[0]} to {ends[1]}, the slope of the gain of {method_name(method)} changes by "
            f"{_slope(change, metric, digits)}: {verdict}."
        )
    return sentences


def comparisons(gains: pd.DataFrame, paired: pd.DataFrame, metric: Metric, baseline: str, reference: str) -> list[str]:
    """Which methods gain beyond the spread of the seeds, and which beyond a reference method, in one setting.

    Args:
        gains: rows of ``statistics.gain_table``, one per method.
        paired: rows of ``statistics.paired_gains``.
        metric: of the gains.
        baseline: the method over which they are measured.
        reference: the method that the others are compared with in the second sentence; needs not be there.
    """
    digits = gain_decimals(metric, gains)
    unit = f" {metric.gain_unit}" if metric.gain_unit else ""
    ranked = gains.sort_values("gain", ascending=False, kind="stable")
    better = [method_name(method) for method, low in zip(ranked["method"], ranked["low"], strict=True) if low > 0]
    best = ranked.iloc[0]
    sentences = [
        f"{len(better)} of {len(gains)} methods gain over {method_name(baseline)} beyond the spread of the seeds"
        + (f": {_and(better)}." if better else "."),
        f"{method_name(best.method)} gains most: {_with_error(best, digits)}{unit}.",
    ]
    differences = statistics.differences_from(paired, reference)
    if differences:
        above = [method_name(m) for m, d in differences.items() if d.low > 0]
        below = [method_name(m) for m, d in differences.items() if d.high < 0]
        name = method_name(reference)
        sentences.append(
            f"Seed by seed, better than {name} beyond the spread of the seeds: {_and(above) if above else 'none'}; "
            f"worse: {_and(below) if below else 'none'}."
        )
    diverged = int(gains["diverged"].sum() + gains["baseline_diverged"].iloc[0])
    if diverged:
        sentences.append(f"{diverged} of the networks compared diverged; what they reached before is in the history.")
    if len(gains) > 2:
        sentences.append(
            f"{len(gains)} methods are compared: of intervals of 95%, one in 20 leaves out the truth by chance."
        )
    return sentences


def edges(gains: pd.DataFrame, paired: pd.DataFrame, radii: Sequence[float]) -> list[str]:
    """Where the chosen radius is the largest or smallest tried."""
    return _edge_sentences(series_of(gains, paired), radii)


def _gain_sentence(one: Series, metric: Metric, baseline: str, digits: int) -> str:
    subject = f"{one.setting[:1].upper()}{one.setting[1:]}: the" if one.setting else "The"
    subject = f"{subject} gain of {one.method} over {baseline}"
    first, last = one.rows.iloc[0], one.rows.iloc[-1]
    unit = f" {metric.gain_unit}" if metric.gain_unit else ""
    start = f"{_with_error(first, digits)}{unit} at {first.num_params:,} parameters"
    if one.rows["num_params"].nunique() < 2:
        interval = f" (95% interval {first.low:+.{digits}f} to {first.high:+.{digits}f})"
        return f"{subject} is {start}{interval if np.isfinite(first.low) else '; one seed gives no interval'}."
    course = f"from {start} to {_with_error(last, digits)} at {last.num_params:,}"
    slope = statistics.slope_per_decade(one.paired)
    if slope is None:
        return f"{subject} goes {course}; no seed has a finite gain at every size, so it has no slope."
    verdict = _verdict(
        slope,
        "grows with the number of parameters:",
        "shrinks with the number of parameters:",
        "shows no trend beyond the spread of the seeds:",
        "goes",
    )
    return f"{subject} {verdict} {course}; slope {_slope(slope, metric, digits)}."


def _verdict(change: Interval, up: str, down: str, neither: str, unknown: str) -> str:
    """What an interval says: its sign where it leaves out 0; without an interval, nothing."""
    if not np.isfinite(change.low):
        return unknown
    return up if change.low > 0 else down if change.high < 0 else neither


def _slope(slope: Interval, metric: Metric, digits: int) -> str:
    unit = f"{metric.gain_unit} " if metric.gain_unit else ""
    doubt = interval_words(slope.low, slope.high, f"+.{digits}f")
    return f"{slope.mean:+.{digits}f} {unit}per tenfold parameters ({doubt})"


def interval_words(low: float, high: float, form: str) -> str:
    """A 95% interval in words, its ends in a format; of one seed there is none."""
    return f"95% interval {low:{form}} to {high:{form}}" if np.isfinite(low) else "one seed, no interval"


def _radius_sentences(series: Sequence[Series], radii: Sequence[float]) -> list[str]:
    sentences = []
    courses = [
        (f"from {one.rows['rho_star'].iloc[0]:g} to {one.rows['rho_star'].iloc[-1]:g}{_rank(one.rows)}", one.name)
        for one in series
        if one.rows["rho_star"].nunique() > 1
    ]
    if courses:
        sentences.append(f"Chosen radius, smallest to largest network: {_grouped(courses, len(series))}.")
    return sentences + _edge_sentences(series, radii)


def _edge_sentences(series: Sequence[Series], radii: Sequence[float]) -> list[str]:
    sentences: list[str] = []
    if len(radii) < 2:
        return sentences
    for edge, word, other in ((max(radii), "largest", "larger"), (min(radii), "smallest", "smaller")):
        at = []
        for one in series:
            there = one.rows["rho_star"] == edge
            # A smaller radius comes nearer to the baseline: of use only where the method loses.
            sizes = one.rows.loc[there if word == "largest" else there & (one.rows["gain"] < 0), "num_params"]
            if len(sizes) and edge > 0:
                at.append((f"at {_and([f'{n:,}' for n in sizes])} parameters", one.name))
        if at:
            sentences.append(
                f"The chosen radius is the {word} tried ({edge:g}) {_grouped(at, len(series))}: "
                f"a {other} one may do better."
            )
    return sentences


def _grouped(facts: Sequence[tuple[str, str]], series: int) -> str:
    """Facts with the names of the series they hold for; one series needs no name."""
    names: dict[str, list[str]] = {}
    for fact, name in facts:
        names.setdefault(fact, []).append(name)
    # Names of several parts have commas of their own.
    comma = "; " if any(", " in name for _, name in facts) else ", "
    return "; ".join(fact if series == 1 else f"{fact} ({comma.join(of)})" for fact, of in names.items())


def _rank(rows: pd.DataFrame) -> str:
    """Of few sizes a rank correlation says nothing."""
    if len(rows) < 4:
        return ""
    return f" (rank correlation with size {rows['num_params'].corr(rows['rho_star'], method='spearman'):+.2f})"


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def setting_sentence(spec: Resolved) -> str:
    """What a resolved spec trains, with the recipe that its networks share."""
    workload = WORKLOADS[spec.workload]
    recipe = workload.recipe
    noise = [f"{100 * rate:g}%" for rate in spec.label_noise or ()]
    assert spec.seeds is not None
    last = spec.first_seed + spec.seeds - 1
    facts = (
        workload.description,
        f"{spec.train_examples:,} training examples" if spec.train_examples != workload.sizes.train else "",
        f"{_and(noise)} wrong training labels ({spec.label_noise_kind})" if any(spec.label_noise or ()) else "",
        f"{spec.epochs} epochs"
        if spec.budget == "epochs"
        else f"as many gradients for every method as SAM takes in {spec.epochs} epochs",
        f"batch {spec.batch_size}",
        f"learning rate {_numbers(spec.learning_rate)} ({spec.schedule})",
        f"warmup over {recipe.warmup_steps:,} steps, a tenth of all at most" if recipe.warmup_steps else "",
        f"momentum {spec.momentum:g}",
        f"weight decay {_numbers(spec.weight_decay)}",
        f"{spec.m} examples per ascent" if spec.m else "",
        f"in {spec.precision}" if spec.precision != "float32" else "",
        f"seeds {spec.first_seed} to {last}" if spec.seeds > 1 else f"seed {last}",
    )
    return "; ".join(fact for fact in facts if fact) + "."


def _numbers(values: Sequence[float] | None) -> str:
    return _and([f"{value:g}" for value in values or ()])


def selection_note(options: Options) -> str:
    """How the radius was chosen, and what that means."""
    return selection_sentence(options.select, "final epoch" if options.at == "final" else "best validation epoch")


def selection_sentence(select: str, epoch: str) -> str:
    """On which split the radius was chosen, at which epoch, and what that means."""
    if select == "test":
        return f"The radius was chosen on the test split itself ({epoch}), the paper's protocol: gains are optimistic."
    return f"The radius was chosen on the validation split, the gain is on the test split ({epoch})."


def _with_error(row: pd.Series, digits: int) -> str:
    if not np.isfinite(row.gain):
        return "no finite gain"
    return f"{row.gain:+.{digits}f}" + (
        f" ± {row.standard_error:.{digits}f}" if np.isfinite(row.standard_error) else ""
    )
