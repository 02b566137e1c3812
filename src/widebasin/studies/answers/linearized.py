"""The answer of ``linearized``: gain and stability of activations against the scale alpha."""

from collections.abc import Sequence
from math import isfinite, nan

import numpy as np
import pandas as pd

from widebasin.report import mechanism_figures
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import gain_decimals, gains_table
from widebasin.report.wording import Wording
from widebasin.statistics.gains import gain_interval, gain_table, paired_gains
from widebasin.statistics.measurements import means_over_seeds
from widebasin.studies.findings import edges, selection_note, setting_sentence, unit_after
from widebasin.studies.instruments import activations_instrument
from widebasin.studies.measuring import Instrument
from widebasin.studies.questions.linearized import STUDY
from widebasin.studies.study import Options
from widebasin.studies.tables import Tables
from widebasin.sweep import Resolved


def instruments(spec: Resolved, options: Options) -> Sequence[Instrument]:
    """Stability of activations."""
    del spec
    return (activations_instrument(options.samples),)


def answer(spec: Resolved, tables: Tables, options: Options) -> Answer:
    """Table, findings and figures of the study."""
    results, design, wording = tables.results, tables.design, tables.wording
    gains = gain_table(results, design, options.select, options.at)
    paired = paired_gains(results, design, options.select, options.at)
    unchanged = _at_chosen_radius(tables.measured["activations"], gains, design.baseline)
    return Answer(
        title=f"The linearized regime: {tables.description.title}",
        question=STUDY.question,
        setting=f"width {spec.widths[0]}; {setting_sentence(tables.description)}",
        findings=(
            *_findings(gains, unchanged, wording),
            *edges(gains, paired, wording, spec.radii_by_method),
            selection_note(options, tables),
        ),
        tables=(gains_table(gains, wording),),
        pictures=(
            Picture(
                "metric-against-scale",
                f"Test {wording.metric.title} against the scale alpha",
                mechanism_figures.metric_against_scale(gains, wording),
            ),
            Picture(
                "activations-against-scale",
                "Stability of activations against the scale alpha",
                mechanism_figures.unchanged_against_scale(unchanged, wording),
            ),
        ),
    )


def _at_chosen_radius(activations: pd.DataFrame, gains: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Mean fraction of unchanged patterns per scale and method, each method at its chosen radius."""
    activations = activations[np.isfinite(activations["unchanged"])]  # those that diverged have none
    chosen = gains[["output_scale", "method", "rho_star"]].rename(columns={"rho_star": "rho"})
    compared = activations.merge(chosen, on=["output_scale", "method", "rho"])
    means = [
        means_over_seeds(table.sort_values("output_scale"), ["output_scale", "method"], ["unchanged"])
        for table in (activations[activations["method"] == baseline], compared)
    ]
    return pd.concat(means, ignore_index=True)


def _findings(gains: pd.DataFrame, unchanged: pd.DataFrame, wording: Wording) -> list[str]:
    digits, unit = gain_decimals(wording.metric, gains), unit_after(wording.metric)
    of_baseline = unchanged[unchanged["method"] == wording.design.baseline].set_index("output_scale")["unchanged"]
    sentences = []
    for method, rows in gains.sort_values("output_scale").groupby("method", sort=False):
        ends = rows["output_scale"].min(), rows["output_scale"].max()
        several = ends[0] < ends[1]
        for scale, end in zip(ends, ("least", "most"), strict=True) if several else [(ends[0], "")]:
            row = rows[rows["output_scale"] == scale].iloc[0]
            share = of_baseline.get(scale, nan)
            activations = (
                f"{100 * share:.1f}% of the activations are" if isfinite(share) else "it is not known how many are"
            )
            doubt = gain_interval(row).words(f"+.{digits}f")
            gain = f"{row.gain:+.{digits}f}{unit} ({doubt})" if isfinite(row.gain) else "nothing that is finite"
            where = f"Where the network is {end} linear (alpha" if several else "At one scale (alpha"
            sentences.append(
                f"{where} = {scale:g}; {activations} unchanged after {wording.baseline}), {wording.method(method)} "
                f"gains {gain} at radius {row.rho_star:g}."
            )
        lost = rows[rows["high"] < 0]
        if not any(gain_interval(row).certain for row in rows.to_dict("records")):
            continue
        sentences.append(
            f"{wording.method(method)} loses beyond the spread of the seeds at {len(lost)} of {len(rows)} scales"
            + (f": alpha = {', '.join(f'{s:g}' for s in lost['output_scale'])}." if len(lost) else ".")
        )
    # The baseline's networks are compared with those of every method: count them once.
    baseline = gains.drop_duplicates("output_scale")["baseline_diverged"]
    diverged = int(gains["diverged"].sum() + baseline.sum())
    if diverged:
        sentences.append(f"{diverged} of the networks compared diverged.")
    return sentences
