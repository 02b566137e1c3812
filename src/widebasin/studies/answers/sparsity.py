"""The answer of ``sparsity``."""

from dataclasses import replace
from itertools import groupby
from math import isfinite
from typing import Any

import pandas as pd

from widebasin.report import figures
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import Table, gain_decimals, gains_table
from widebasin.report.wording import Wording
from widebasin.statistics.gains import gain_table, paired_gains, radius_table, rounding_of_gains
from widebasin.statistics.intervals import NONE, Interval, interval_name, t_interval
from widebasin.studies.answers.overparam import gain_answer
from widebasin.studies.findings import selection_note, unit_after
from widebasin.studies.questions.sparsity import STUDY
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved

# Counts within this share of each other are equal: biases stay, and levels are rounded.
EQUAL = 0.02
PRUNED_BY = {"none": "dense", "random": "pruned at random", "snip": "pruned by SNIP"}


def answer(spec: Resolved, tables: Tables, options: Options) -> Answer:
    """Tables, findings and figures of the study."""
    results, design = tables.results, tables.design
    wording = tables.wording.read_by(network="{}")
    gains, paired, radii = (
        table.sort_values(["sparsity", "pruner"], kind="stable", ignore_index=True).assign(
            network=lambda rows: rows["pruner"].map(PRUNED_BY)
        )
        for table in (
            gain_table(results, design, options.select, options.at),
            paired_gains(results, design, options.select, options.at),
            radius_table(results, design, options.at),
        )
    )
    # Of one width, what tells series apart is how a network was pruned, not how far: that is on the axis.
    several_widths = gains.loc[gains["sparsity"] > 0, "width"].nunique() > 1
    one_series = {"pruner": "none"} | ({} if several_widths else {"sparsity": 0.0})
    plain = gain_answer(
        spec, tables, gains.assign(**one_series), paired.assign(**one_series), radii.assign(**one_series), wording
    )
    equal = _equal_counts(gains, paired)
    largest = gains[gains["width"] == gains["width"].max()]
    digits = gain_decimals(wording.metric, gains)
    return replace(
        plain,
        title=f"SAM, overparameterization and sparsity: {tables.description.title}",
        question=STUDY.question,
        findings=(*_findings(equal, wording, digits), *plain.findings, selection_note(options, tables)),
        tables=(
            gains_table(gains.assign(pruner="none"), wording),
            *([_equal_table(equal, wording, digits)] if equal else []),
        ),
        pictures=(
            plain.pictures[0],
            Picture(
                "gain-against-sparsity",
                f"Gain against sparsity of the network of width {largest['width'].iloc[0]}",
                figures.gain_against_sparsity(largest, wording),
            ),
            *plain.pictures[1:],
        ),
    )


def _equal_counts(gains: pd.DataFrame, paired: pd.DataFrame) -> list[dict[str, Any]]:
    """The pruned largest network and the dense one with equally many parameters; the difference of gains over seeds."""
    rows = []
    dense = gains[gains["pruner"] == "none"]
    largest = gains[(gains["pruner"] != "none") & (gains["width"] == gains["width"].max())]
    for pruned in largest.sort_values(["network", "sparsity"]).to_dict("records"):
        smaller = dense[(dense["method"] == pruned["method"]) & (dense["width"] < pruned["width"])]
        near = smaller[(smaller["num_params"] / pruned["num_params"] - 1).abs() <= EQUAL]
        if near.empty:
            continue
        small = near.to_dict("records")[0]
        columns = ["width", "sparsity", "pruner", "method"]
        both = [paired[(paired[columns] == [one[c] for c in columns]).all(axis=1)] for one in (pruned, small)]
        by_seed = [one.set_index("seed")["gain"] for one in both]
        rounding = max(map(rounding_of_gains, both))
        common = by_seed[0].index.intersection(by_seed[1].index)
        if len(common):
            # NaN if one of the networks diverged: none is left out.
            difference = t_interval(by_seed[0][common] - by_seed[1][common], rounding=rounding)
            rows.append({"pruned": pruned, "dense": small, "difference": difference})
    return rows


def _findings(equal: list[dict[str, Any]], wording: Wording, digits: int) -> list[str]:
    if not equal:
        return [
            "Pruned, the largest network never has as many parameters as a dense one (within 2%): nothing is compared."
        ]
    unit = unit_after(wording.metric)
    sentences = []
    by = lambda one: (one["pruned"]["network"], one["pruned"]["method"])  # noqa: E731
    for (network, method), group in groupby(sorted(equal, key=by), key=by):
        rows = list(group)
        more = sum(one["difference"].above() for one in rows)
        less = sum(one["difference"].below() for one in rows)
        differ = sum(one["pruned"]["rho_star"] != one["dense"]["rho_star"] for one in rows)
        detail = "; ".join(
            f"{_difference_words(one['difference'], digits, unit)} at {one['dense']['num_params']:,} parameters"
            for one in rows
        )
        sentences.append(
            f"{network[:1].upper()}{network[1:]}, the largest network gains more from {wording.method(method)} than a "
            f"dense one of as many parameters at {more} of {len(rows)} sizes, and less at {less}, beyond the spread of "
            f"the seeds. Difference of the gains: {detail}. The chosen radii differ at {differ} of {len(rows)} sizes."
        )
    return sentences


def _difference_words(difference: Interval, digits: int, unit: str) -> str:
    if not isfinite(difference.mean):
        return "none that is finite"
    return f"{difference.mean:+.{digits}f}{unit} ({difference.words(f'+.{digits}f')})"


def _equal_table(equal: list[dict[str, Any]], wording: Wording, digits: int) -> Table:
    several = len({one["pruned"]["method"] for one in equal}) > 1
    rows = []
    for one in equal:
        pruned, dense, difference = one["pruned"], one["dense"], one["difference"]
        rows.append(
            (
                f"{dense['num_params']:,}",
                *([wording.method(pruned["method"])] if several else []),
                pruned["network"],
                wording.value("sparsity", pruned["sparsity"]),
                *(
                    f"{gain:+.{digits}f}" if isfinite(gain) else NONE
                    for gain in (pruned["gain"], dense["gain"], difference.mean)
                ),
                difference.ends(f"+.{digits}f"),
                f"{pruned['rho_star']:g} / {dense['rho_star']:g}",
            )
        )
    columns = (
        "parameters",
        *(["method"] if several else []),
        "large network",
        "sparsity",
        "its gain",
        "gain of the small dense one",
        "difference",
        interval_name(),
        "rho* sparse / dense",
    )
    unit = f", {wording.metric.gain_unit}" if wording.metric.gain_unit else ""
    title = f"Pruned against dense at equal counts{unit}"
    return Table(title, columns, tuple(rows), "Differences are paired by seed.")
