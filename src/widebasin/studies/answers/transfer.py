"""The answer of ``transfer``: how far the best learning rate and radius move with the width, and what that costs."""

from collections.abc import Hashable, Iterable
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from widebasin.parametrization import MUP2
from widebasin.report import figures, transfer_figures
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import Table, gain_decimals, gains_table
from widebasin.report.wording import Wording
from widebasin.statistics.chance import beyond_chance
from widebasin.statistics.gains import gain_table, paired_gains, radius_table
from widebasin.statistics.intervals import NONE, Interval, interval_name
from widebasin.statistics.transfer import (
    LEARNING_RATE,
    PARAMETRIZATION,
    RADIUS,
    SETTINGS,
    best_networks,
    in_order,
    optima,
    over_learning_rates,
    shift_interval,
    transfer_costs,
)
from widebasin.studies.findings import growth_left, selection_note, setting_sentence, trends, unit_after
from widebasin.studies.questions.transfer import STUDY
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved

NAMES = {LEARNING_RATE: "learning rate", RADIUS: "radius"}


def answer(spec: Resolved, tables: Tables, options: Options) -> Answer:
    """Tables, findings and figures of the study."""
    results, design = tables.results, tables.design
    wording = replace(tables.wording, design=over_learning_rates(design))
    found = optima(results, design, options.select, options.at)
    costs = transfer_costs(results, design, options.select, options.at)
    best = best_networks(results, design, options.select, options.at)
    gains = in_order(gain_table(best, wording.design, options.select, options.at), results)
    paired = paired_gains(best, wording.design, options.select, options.at)
    digits = gain_decimals(wording.metric, gains)
    one_kind = found.table[PARAMETRIZATION].nunique() == 1
    return Answer(
        title=f"Transfer of learning rate and radius: {tables.description.title}",
        question=STUDY.question,
        setting=setting_sentence(tables.description),
        findings=(
            *_shift_sentences(found.shifts, wording, one_kind),
            *_cost_sentences(costs, found.shifts, wording, digits, one_kind),
            *_to_use(beyond_chance(found.table, results, design, tables.description.chance), spec, wording),
            *trends(gains, paired, wording, {}),
            *growth_left(gains, paired, wording),
            *_edge_sentences(found.table, wording, one_kind),
            *_diverged(results),
            "Gains and costs are those of the best learning rates and radii tried; the movement is that of the optimum "
            "between those tried, from parabolas in their logarithms.",
            selection_note(options, tables).replace("The radius was", "Learning rate and radius were"),
        ),
        tables=(
            _shifts_table(found.shifts, wording, one_kind),
            _optima_table(found.table, wording, digits, one_kind),
            _costs_table(costs, wording, digits, one_kind),
            gains_table(gains, wording),
        ),
        pictures=tuple(_pictures(radius_table(results, design, options.at), found.table, costs, gains, wording)),
    )


def _pictures(
    means: pd.DataFrame, best: pd.DataFrame, costs: pd.DataFrame, gains: pd.DataFrame, wording: Wording
) -> list[Picture]:
    """The figures; along a setting that has one value there are none."""
    baseline, metric = wording.design.baseline, wording.metric.title
    rates, radii = (means[name].nunique() > 1 for name in (LEARNING_RATE, RADIUS))
    radii = radii and means.loc[means["method"] != baseline, RADIUS].nunique() > 1
    figure = transfer_figures
    pictures = [
        Picture("heat-maps", f"Test {metric} at every learning rate and radius", figure.heat_maps(means, best, wording))
    ]
    if rates:
        drawn = figure.optimum_against_width(best, wording, LEARNING_RATE)
        pictures.append(Picture("best-learning-rate", "Best learning rate against the width", drawn))
    if radii:
        drawn = figure.optimum_against_width(best, wording, RADIUS)
        pictures.append(Picture("best-radius", "Best radius against the width", drawn))
    pictures.append(
        Picture("cost", "Cost of transfer against the width", figure.cost_against_width(costs, wording)),
    )
    if radii:
        drawn = figure.metric_against_radius(means, best, wording)
        title = f"Test {metric} against the radius, at the best learning rate of each width"
        pictures.append(Picture("by-radius", title, drawn))
    if rates:
        drawn = figure.metric_against_learning_rate(means, best, wording, baseline)
        title = f"Test {metric} against the learning rate of {wording.baseline}"
        pictures.append(Picture("by-learning-rate", title, drawn))
    drawn = figures.gain_against_parameters(gains, wording)
    return [*pictures, Picture("gain", "Gain against the number of parameters, each method at its best", drawn)]


def _to_use(best: pd.DataFrame, spec: Resolved, wording: Wording) -> list[str]:
    """What was best at the largest width in muP^2, as flags for networks of other widths."""
    best = best[(best[PARAMETRIZATION] == MUP2) & (best["method"] != wording.design.baseline)]
    best = best[best["width"] == max(spec.widths)]
    return [
        f"At other widths: --parametrization {MUP2} --base-width {spec.base_width} --method {row['method']} "
        f"--learning-rate {row[LEARNING_RATE]:g} --rho {row[RADIUS]:g}, the best tried at width {row['width']}."
        for row in best.to_dict("records")
        if isfinite(row["value"])
    ]


def _where(row: dict[Hashable, Any], wording: Wording, one_kind: bool, sentence: str) -> str:
    """A sentence on a parametrization, which is named if there are several."""
    if one_kind:
        return sentence[:1].upper() + sentence[1:]
    return f"With {wording.setting(row, [PARAMETRIZATION])}: {sentence}"


def _shift_sentences(shifts: pd.DataFrame, wording: Wording, one_kind: bool) -> list[str]:
    sentences = []
    for _, row in shifts.iterrows():
        shift, slope = (shift_interval(row, column) for column in ("shift", "slope"))
        subject = f"the best {NAMES[row['setting']]} of {wording.method(row['method'])}"
        if not isfinite(shift.mean):
            sentence = f"{subject} has no movement that is finite, from width {row['small_width']} to"
            sentences.append(_where(dict(row), wording, one_kind, f"{sentence} {row['large_width']}."))
            continue
        if not shift.certain:
            verdict = "goes"
        elif shift.above() or shift.below():
            verdict = f"{'rises' if shift.above() else 'falls'} with the width:"
        else:
            verdict = "shows no movement beyond the spread of the seeds:"
        sentence = (
            f"{subject} {verdict} from {row['small']:.3g} at width {row['small_width']} to {row['large']:.3g} at width "
            f"{row['large_width']}, {shift.mean:+.2f} factors of two ({shift.words('+.2f')}); {slope.mean:+.2f} per "
            f"doubling of the width ({slope.words('+.2f')})."
        )
        sentences.append(_where(dict(row), wording, one_kind, sentence))
    return sentences


def _cost_sentences(
    costs: pd.DataFrame, shifts: pd.DataFrame, wording: Wording, digits: int, one_kind: bool
) -> list[str]:
    """What transfer to the largest width costs every method of which several trials were made."""
    small, large = costs["width"].min(), costs["width"].max()
    sentences = []
    for row in costs[costs["width"] == large].to_dict("records"):
        method = wording.method(row["method"])
        names = [NAMES[name] for name in dict.fromkeys(shifts.loc[shifts["method"] == row["method"], "setting"])]
        if not names:
            continue
        what = " and ".join(names)
        if not isfinite(row["own_value"]):
            sentence = f"at width {large}, no {what} tried gives {method} a finite test {wording.metric.title}"
        elif row["same"]:
            verb = "is" if len(names) == 1 else "are"
            sentence = (
                f"the {what} that {verb} best at width {small} for {method} {verb} the best tried at width {large} too"
            )
        elif isfinite(row["cost"]):
            s = "s" if len(names) == 1 else ""
            cost = Interval(row["cost"], row["standard_error"], row["low"], row["high"], row["seeds"])
            sentence = (
                f"at width {large}, the {what} of width {small} instead of its own cost{s} {method} "
                f"{cost.mean:+.{digits}f}{unit_after(wording.metric)} of test {wording.metric.title} "
                f"({cost.words(f'+.{digits}f')})"
            )
        else:
            sentence = (
                f"at width {large}, {row['diverged']} of {row['seeds']} networks of {method} diverge with the {what} "
                f"of width {small}, so there is no finite cost"
            )
        sentences.append(_where(row, wording, one_kind, f"{sentence}."))
    return sentences


def _edge_sentences(best: pd.DataFrame, wording: Wording, one_kind: bool) -> list[str]:
    """Where the best learning rate or radius is at an end of those tried, so that its movement may be larger."""
    found = []
    best = best[np.isfinite(best["value"])]
    for name in SETTINGS:
        for (kind, method, edge), rows in best[best[f"{name}_edge"] != ""].groupby(
            [PARAMETRIZATION, "method", f"{name}_edge"], sort=False
        ):
            where = "" if one_kind else f"with {wording.setting({PARAMETRIZATION: kind}, [PARAMETRIZATION])}, "
            found.append(
                f"{where}the {edge} {NAMES[name]} of {wording.method(method)} ({rows[name].iloc[0]:g}) at width "
                f"{_and(rows['width'])}"
            )
    if not found:
        return []
    return [f"Best at an end of those tried, so that the movement may be larger than found: {'; '.join(found)}."]


def _diverged(results: pd.DataFrame) -> list[str]:
    """How many networks of the grid diverged."""
    count = int(results["diverged"].sum())
    if not count:
        return []
    rates = results.loc[results["diverged"], LEARNING_RATE]
    return [
        f"{count} of {len(results)} networks of the grid diverged, at learning rates from {rates.min():g} to "
        f"{rates.max():g}; a trial in which one diverged is the best only if there is no other."
    ]


def _and(numbers: Iterable[Any]) -> str:
    words = [str(number) for number in numbers]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _named(wording: Wording, one_kind: bool, *columns: str) -> list[str]:
    """The columns that identify a row; that of the parametrization if there are several."""
    return [*([] if one_kind else [PARAMETRIZATION]), *columns]


def _shifts_table(shifts: pd.DataFrame, wording: Wording, one_kind: bool) -> Table:
    named = _named(wording, one_kind, "method")
    rows = []
    for _, row in shifts.iterrows():
        cells = [_number(row["small"], ".3g"), _number(row["large"], ".3g")]
        for column in ("shift", "slope"):
            one = shift_interval(row, column)
            cells += [_number(one.mean, "+.2f"), one.ends("+.2f")]
        rows.append((*wording.cells(dict(row), named), NAMES[row["setting"]], *cells))
    small, large = (shifts[f"{end}_width"].iloc[0] for end in ("small", "large"))
    columns = (
        *wording.headings(named),
        "best",
        f"at width {small}",
        f"at width {large}",
        "factors of two",
        interval_name(),
        "per doubling of the width",
        interval_name(),
    )
    note = (
        "Intervals: percentile bootstrap over seeds, the same seeds at all widths; of fewer than five seeds there is "
        "none, and of five it leaves out the true movement in about one case of six, instead of one of twenty."
    )
    return Table("Movement of the best learning rate and radius", columns, tuple(rows), note)


def _optima_table(best: pd.DataFrame, wording: Wording, digits: int, one_kind: bool) -> Table:
    named = _named(wording, one_kind, "width", "num_params", "method")
    rows = []
    for row in best.to_dict("records"):
        cells = []
        for name in SETTINGS:
            if name == RADIUS and row["method"] == wording.design.baseline:
                cells += [NONE, NONE, NONE]
                continue
            low, high = (row[f"best_{name}_{end}"] for end in ("low", "high"))
            ends = f"{low:.3g} to {high:.3g}" if isfinite(low) and isfinite(high) else NONE
            edge = f" ({row[f'{name}_edge']})" if row[f"{name}_edge"] else ""
            cells += [f"{row[name]:g}{edge}", _number(row[f"best_{name}"], ".3g"), ends]
        rows.append((*wording.cells(row, named), *cells, _number(row["value"], f".{digits}f")))
    columns = (
        *wording.headings(named),
        *(heading for name in SETTINGS for heading in (NAMES[name], "between those tried", interval_name())),
        f"test {wording.metric.short}",
    )
    note = "In brackets: the end of those tried. Test values are means over seeds at the best of those tried."
    return Table("Best learning rate and radius", columns, tuple(rows), note)


def _costs_table(costs: pd.DataFrame, wording: Wording, digits: int, one_kind: bool) -> Table:
    named = _named(wording, one_kind, "method", "width", "num_params")
    unit = f" ({wording.metric.gain_unit})" if wording.metric.gain_unit else ""
    small = costs["width"].min()
    rows = []
    for row in costs[costs["width"] > small].to_dict("records"):
        cost = Interval(row["cost"], row["standard_error"], row["low"], row["high"], row["seeds"])
        doubt = (
            ("0", NONE)
            if row["same"] and isfinite(row["own_value"])
            else (cost.with_error(digits), cost.ends(f"+.{digits}f"))
        )
        rows.append(
            (
                *wording.cells(row, named),
                _trial(row, "", wording),
                _trial(row, "small_", wording),
                _number(row["own_value"], f".{digits}f"),
                _number(row["value"], f".{digits}f"),
                *doubt,
                str(row["diverged"]),
            )
        )
    columns = (
        *wording.headings(named),
        "its own best",
        f"best at width {small}",
        f"test {wording.metric.short} with its own",
        f"with that of width {small}",
        f"cost ± s.e.{unit}",
        interval_name(),
        "diverged",
    )
    note = "Learning rate, and radius after the stroke. Costs are paired by seed; interval: Student t."
    return Table(f"Cost of transfer from width {small}", columns, tuple(rows), note)


def _trial(row: dict[Hashable, Any], which: str, wording: Wording) -> str:
    """Learning rate and radius in short."""
    rate = f"{row[f'{which}{LEARNING_RATE}']:g}"
    return rate if row["method"] == wording.design.baseline else f"{rate} / {row[f'{which}{RADIUS}']:g}"


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if isfinite(value) else NONE
