"""Findings as sentences with numbers, computed from the results only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from widebasin.parametrization import STANDARD
from widebasin.report.tables import gain_decimals, row_decimals
from widebasin.report.wording import Wording
from widebasin.statistics import Metric
from widebasin.statistics.gains import TIE, differences_from, edges_chosen, gain_interval, unjudged
from widebasin.statistics.intervals import Interval
from widebasin.statistics.transfer import PARAMETRIZATION
from widebasin.statistics.trends import seeds_compared, slope_difference, slope_per_decade
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved
from widebasin.sweep.description import Description

# Parts of the data in words.
PARTS = {"valid": "validation", "test": "test"}
# The column of how a network was stopped, where it is read at several epochs.
STOPPED = "stopped"


@dataclass(frozen=True)
class Series:
    """One method in one setting, in order of size.

    Attributes:
        method: name in text.
        setting: the setting in words; empty if there is only one.
        name: what distinguishes it from the other series.
        rows: rows of ``gain_table``.
        paired: rows of ``paired_gains``.
    """

    method: str
    setting: str
    name: str
    rows: pd.DataFrame
    paired: pd.DataFrame


def series_of(gains: pd.DataFrame, paired: pd.DataFrame, wording: Wording) -> list[Series]:
    """Every method in every setting."""
    settings = wording.design.varying(gains)
    columns = [*settings, "method"]
    found = []
    for key, rows in gains.groupby(columns, sort=False):
        mine = paired[np.logical_and.reduce([paired[c] == v for c, v in zip(columns, key, strict=True)])]
        method, setting = wording.method(key[-1]), wording.setting(rows.iloc[0], settings)
        parts = [method] if not setting else [method, setting] if gains["method"].nunique() > 1 else [setting]
        found.append(Series(method, setting, " at ".join(parts), rows.sort_values("num_params"), mine))
    return found


def trends(
    gains: pd.DataFrame, paired: pd.DataFrame, wording: Wording, radii: Mapping[str, Sequence[float]]
) -> list[str]:
    """How gain and chosen radius change with size: one sentence per method and setting, then summaries.

    Args:
        gains: rows of ``gain_table``.
        paired: rows of ``paired_gains``.
        wording: the wording of both tables.
        radii: method -> all radii that it tried; edges are not looked for without.
    """
    series = series_of(gains, paired, wording)
    digits = gain_decimals(wording.metric, gains)
    sentences = [_gain_sentence(one, wording, digits) for one in series]
    sentences += _radius_sentences(series, radii)
    diverged = _compared_and_diverged(gains, wording)
    if diverged:
        sentences.append(f"{diverged} of the networks compared diverged; what they reached before is in the history.")
    return sentences


def _compared_and_diverged(gains: pd.DataFrame, wording: Wording) -> int:
    """Number of compared networks that diverged; each counts once, even if compared several times."""
    settings = ["width", "num_params", *(one for one in wording.design.varying(gains) if one != STOPPED)]
    others = gains.drop_duplicates([*settings, "method", "rho_star"])
    return int(others["diverged"].sum() + gains.drop_duplicates(settings)["baseline_diverged"].sum())


def slope_change(gains: pd.DataFrame, paired: pd.DataFrame, wording: Wording, column: str) -> list[str]:
    """For every method, how the slope of the gain differs between the ends of a column of the setting.

    Args:
        gains: rows of ``gain_table``.
        paired: rows of ``paired_gains``.
        wording: the wording of both tables.
        column: a column such as ``label_noise``; other columns of the setting must have one value.
    """
    if wording.design.varying(gains) != [column]:
        return []
    low, high = gains[column].min(), gains[column].max()
    digits = gain_decimals(wording.metric, gains)
    sentences = []
    for method in dict.fromkeys(gains["method"]):
        mine = paired[paired["method"] == method]
        both = mine[mine[column] == low], mine[mine[column] == high]
        change = slope_difference(*both)
        if change is None:
            continue
        compared = seeds_compared(*both)
        name = column.replace("_", " ")
        ends = wording.value(column, low), wording.value(column, high)
        at = tuple(f"when {name} {end}" if isinstance(low, str) else f"at {end}" for end in ends)
        verdict = verdict_on(
            change,
            compared,
            up=f"it is higher {at[1]}",
            down=f"it is lower {at[1]}",
            neither="no difference beyond the spread of the seeds",
            unknown="no verdict",
        )
        sentences.append(
            f"From {name} {ends[0]} to {ends[1]}, the slope of the gain of {wording.method(method)} changes by "
            f"{slope_words(change, wording.metric, digits, compared)}: {verdict}."
        )
    return sentences


def growth_left(gains: pd.DataFrame, paired: pd.DataFrame, wording: Wording) -> list[str]:
    """How slopes of the gain and the growth of the radius differ from those in the standard parametrization.

    Args:
        gains: rows of ``gain_table``.
        paired: rows of ``paired_gains``.
        wording: the wording of both tables.

    Returns:
        One sentence per method and other parametrization, with the share of the slope that is left where the standard
        one is above 0 beyond the seeds and the other between 0 and it; none if the standard one is missing, or if
        another column of the setting has several values.
    """
    kinds = list(dict.fromkeys(gains[PARAMETRIZATION])) if PARAMETRIZATION in gains else []
    if STANDARD not in kinds or wording.design.varying(gains) != [PARAMETRIZATION]:
        return []
    digits = gain_decimals(wording.metric, gains)
    unit = unit_after(wording.metric)
    sentences = []
    for method in dict.fromkeys(gains["method"]):
        radii = gains[gains["method"] == method].sort_values("num_params").groupby(PARAMETRIZATION)["rho_star"]
        slopes = paired[paired["method"] == method].groupby(PARAMETRIZATION)
        standard = slope_per_decade(slopes.get_group(STANDARD))
        for kind in (kind for kind in kinds if kind != STANDARD):
            own = slope_per_decade(slopes.get_group(kind))
            both = slopes.get_group(STANDARD), slopes.get_group(kind)
            change = slope_difference(*both)
            if standard is None or own is None or change is None:
                continue
            compared = seeds_compared(*both)
            share = (
                f", {own.mean / standard.mean:.0%} of it" if standard.above() and standard.mean >= own.mean >= 0 else ""
            )
            verdict = verdict_on(
                change,
                compared,
                up="higher beyond the seeds",
                down="lower beyond the seeds",
                neither="no difference beyond the seeds",
                unknown="",
            )
            grown = [f"{of.iloc[0]:g} to {of.iloc[-1]:g}" for of in (radii.get_group(STANDARD), radii.get_group(kind))]
            sentences.append(
                f"The slope of the gain of {wording.method(method)} is {standard.mean:+.{digits}f}{unit} per tenfold "
                f"parameters with {STANDARD} parametrization and {own.mean:+.{digits}f} with {kind}{share}; the "
                f"difference is {change.mean:+.{digits}f} ({change.words(f'+.{digits}f')}"
                f"{left_words(change, compared)})"
                + (f": {verdict}" if verdict else "")
                + f". The chosen radius goes from {grown[0]} with {STANDARD}, and from {grown[1]} with {kind}."
            )
    return sentences


def comparisons(gains: pd.DataFrame, paired: pd.DataFrame, wording: Wording, reference: str) -> list[str]:
    """Which methods gain beyond the spread of the seeds, and which beat a reference method, in one setting.

    Args:
        gains: rows of ``gain_table``, one per method.
        paired: rows of ``paired_gains``.
        wording: the wording of both tables.
        reference: the method that the others are also compared with; may be missing.
    """
    digits = gain_decimals(wording.metric, gains)
    ranked = gains.sort_values("gain", ascending=False, kind="stable")
    intervals = {row["method"]: gain_interval(row) for row in ranked.to_dict("records")}
    better = [wording.method(method) for method, gain in intervals.items() if gain.above()]
    best = ranked["method"].iloc[0]
    highest = intervals[best].mean
    equal = [wording.method(m) for m, gain in intervals.items() if gain.mean >= highest - TIE * abs(highest)]
    sentences = [_best_sentence(equal, intervals[best], wording, digits)]
    certain = any(gain.certain for gain in intervals.values())
    if certain:
        gaining = f"{len(better)} of {len(gains)} methods gain over {wording.baseline} beyond the spread of the seeds"
        sentences.insert(0, gaining + (f": {_and(better)}." if better else "."))
    differences = differences_from(paired, reference)
    if any(difference.certain for difference in differences.values()):
        above = [wording.method(m) for m, d in differences.items() if d.above()]
        below = [wording.method(m) for m, d in differences.items() if d.below()]
        sentences.append(
            f"Seed by seed, better than {wording.method(reference)} beyond the spread of the seeds: "
            f"{_and(above) if above else 'none'}; worse: {_and(below) if below else 'none'}."
        )
    diverged = int(gains["diverged"].sum() + gains["baseline_diverged"].iloc[0])
    if diverged:
        sentences.append(f"{diverged} of the networks compared diverged; what they reached before is in the history.")
    if certain and len(gains) > 2:
        one = intervals[best]
        sentences.append(
            f"{len(gains)} methods are compared: of intervals of {100 * one.confidence:g}%, one in "
            f"{1 / (1 - one.confidence):.0f} misses the true value by chance."
        )
    return sentences


def _best_sentence(methods: Sequence[str], gain: Interval, wording: Wording, digits: int) -> str:
    """The sentence on the method with the highest gain, or on those that share it."""
    if not np.isfinite(gain.mean):
        return "No method has a finite gain."
    shared = len(methods) > 1
    size = f"{gain.mean:+.{digits}f}" if shared else _with_error(gain, digits)
    size += f"{unit_after(wording.metric)}{' each' if shared else ''}"
    if gain.mean > 0:
        return f"{_and(methods)} gain{'' if shared else 's'} most: {size}."
    nearest = f"{_and(methods)} come{'' if shared else 's'} nearest"
    return f"No method gains over {wording.baseline} in the mean; {nearest}: {size}."


def edges(
    gains: pd.DataFrame, paired: pd.DataFrame, wording: Wording, radii: Mapping[str, Sequence[float]]
) -> list[str]:
    """Sentences on where the chosen radius is the largest or smallest tried."""
    return _edge_sentences(series_of(gains, paired, wording), radii)


def _gain_sentence(one: Series, wording: Wording, digits: int) -> str:
    subject = f"{one.setting[:1].upper()}{one.setting[1:]}: the" if one.setting else "The"
    subject = f"{subject} gain of {one.method} over {wording.baseline}"
    first, last = gain_interval(one.rows.iloc[0]), gain_interval(one.rows.iloc[-1])
    at_first, at_last = (
        row_decimals(wording.metric, digits, row["baseline_value"], row["value"])
        for row in (one.rows.iloc[0], one.rows.iloc[-1])
    )
    counts = one.rows["num_params"]
    if not np.isfinite(one.rows["gain"]).any():
        diverged = one.rows[["baseline_diverged", "diverged"]].to_numpy().any()
        why = "networks compared have diverged" if diverged else f"no network has a finite {wording.metric.title}"
        return f"{subject} is finite at none of the sizes: {why}."
    # The unit stands after the first number.
    unit = unit_after(wording.metric)
    units = (unit, "") if np.isfinite(first.mean) else ("", unit)
    start = f"{_with_error(first, at_first)}{units[0]} at {counts.iloc[0]:,} parameters"
    if counts.nunique() < 2:
        return f"{subject} is {start} ({first.words(f'+.{at_first}f')})."
    course = f"from {start} to {_with_error(last, at_last)}{units[1]} at {counts.iloc[-1]:,}"
    slope = slope_per_decade(one.paired)
    if slope is None:
        return f"{subject} goes {course}; no seed has a finite gain at every size, so it has no slope."
    compared = seeds_compared(one.paired)
    verdict = verdict_on(
        slope,
        compared,
        up="grows with the number of parameters:",
        down="shrinks with the number of parameters:",
        neither="shows no trend beyond the spread of the seeds:",
        unknown="goes",
    )
    return f"{subject} {verdict} {course}; slope {slope_words(slope, wording.metric, digits, compared)}."


def verdict_on(
    found: Interval, compared: int, *, up: str, down: str, neither: str, unknown: str, reference: float = 0.0
) -> str:
    """The verdict of an interval over seeds: on which side of a reference it is, if it excludes it.

    It is unknown without an interval, and if seeds of those ``compared`` are missing, as because a network diverged:
    what is left is no fair sample.
    """
    if not found.certain or found.count < compared:
        return unknown
    return up if found.above(reference) else down if found.below(reference) else neither


def slope_words(slope: Interval, metric: Metric, digits: int, compared: int) -> str:
    """A slope of the gain, or a difference of slopes, with its interval, and over which of the seeds it is.

    Args:
        slope: the interval over seeds without a network that diverged.
        metric: of the gain.
        digits: after the point.
        compared: number of seeds with and without, see ``seeds_compared``.
    """
    doubt = slope.words(f"+.{digits}f") + left_words(slope, compared)
    return f"{slope.mean:+.{digits}f}{unit_after(metric)} per tenfold parameters ({doubt})"


def left_words(found: Interval, compared: int, which: str = "those without a diverged network") -> str:
    """Over how many of the seeds compared an interval is, and which, where it is not over all."""
    return f", over {found.count} of {compared} seeds, {which}" if found.count < compared else ""


def unit_after(metric: Metric) -> str:
    """The unit of gains, after a number."""
    return f" {metric.gain_unit}" if metric.gain_unit else ""


def _radius_sentences(series: Sequence[Series], radii: Mapping[str, Sequence[float]]) -> list[str]:
    sentences = []
    courses = [
        (f"from {one.rows['rho_star'].iloc[0]:g} to {one.rows['rho_star'].iloc[-1]:g}{_rank(one.rows)}", one.name)
        for one in series
        if one.rows["rho_star"].nunique() > 1
    ]
    if courses:
        sentences.append(f"Chosen radius, smallest to largest network: {_grouped(courses, len(series))}.")
    return sentences + _edge_sentences(series, radii)


def _edge_sentences(series: Sequence[Series], radii: Mapping[str, Sequence[float]]) -> list[str]:
    """Methods that tried the same radii share their sentences."""
    alike: dict[tuple[float, ...], list[Series]] = {}
    for one in series:
        alike.setdefault(tuple(radii.get(one.rows["method"].iloc[0], ())), []).append(one)
    return [sentence for tried, of in alike.items() if len(tried) > 1 for sentence in _edges_of(of, tried, len(series))]


def _edges_of(series: Sequence[Series], radii: Sequence[float], of: int) -> list[str]:
    sentences: list[str] = []
    for edge, word, other in ((max(radii), "largest", "larger"), (min(radii), "smallest", "smaller")):
        at = []
        for one in series:
            sizes = one.rows.loc[edges_chosen(one.rows, radii)[word], "num_params"]
            if len(sizes):
                at.append((f"at {_and([f'{n:,}' for n in sizes])} parameters", one.name))
        if at:
            sentences.append(
                f"The chosen radius is the {word} tried ({edge:g}) {_grouped(at, of)}: a {other} one may do better."
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
    """The rank correlation; empty for few sizes, where it means nothing."""
    if len(rows) < 4:
        return ""
    # Spearman's; pandas would load all of SciPy's statistics for it.
    correlation = rows["num_params"].rank().corr(rows["rho_star"].rank())
    return f" (rank correlation with size {correlation:+.2f})"


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def setting_sentence(description: Description) -> str:
    """The sentence on what a sweep trains and the recipe that its networks share."""
    return "; ".join((description.title, *description.recipe)) + "."


def beyond_plain_steps(spec: Resolved) -> list[str]:
    """The parts of training in a resolved spec beyond the plain (SAM) gradient step that theory assumes."""
    facts = {
        f"optimizer {spec.optimizer}": spec.optimizer != "sgd",
        f"momentum {spec.momentum:g}": spec.optimizer == "sgd" and bool(spec.momentum),
        "weight decay": any(spec.weight_decay),
        "clipping of gradients": bool(spec.clip),
        "learning rates and ascents of single layers": spec.base_width is not None,
    }
    return [name for name, there in facts.items() if there]


def selection_note(options: Options, tables: Tables | None = None, epoch: str = "") -> str:
    """How the radius was chosen, and what this means for the gains.

    Args:
        options: the split and the epoch at which it was chosen.
        tables: those from which it was chosen, to say which seeds had no part in it.
        epoch: the epoch in words, if not that of the options.
    """
    epoch = epoch or ("final epoch" if options.at == "final" else "best validation epoch")
    note = f"The radius was chosen on the validation split, the gain is on the test split ({epoch})."
    if options.select == "test":
        note = f"The radius was chosen on the test split itself ({epoch}), the paper's protocol: gains are optimistic."
    if tables is None:
        return note
    for part, without in (
        ("valid", "no part in the choice"),
        ("test", "no part in gains and their means"),
    ):
        lost = unjudged(tables.results, tables.design, part, options.at)
        seeds = [str(seed) for seed in sorted(tables.results.loc[lost, "seed"].unique())]
        if not seeds or part not in (options.select, "test"):
            continue
        settings = [tables.results[column] for column in tables.design.setting]
        none = part == options.select and lost.groupby(settings, dropna=False).all().any()
        split, few = PARTS[part], f"seed{'s' * (len(seeds) > 1)} {_and(seeds)}"
        note += f" The {tables.design.metric.title} on the {split} split has no value for {few}: {without}" + (
            "; where no seed has one, the smallest radius was taken." if none else "."
        )
    return note


def _with_error(gain: Interval, digits: int) -> str:
    return gain.with_error(digits) if np.isfinite(gain.mean) else "no finite gain"
