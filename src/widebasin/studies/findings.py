"""Findings in words, with their numbers, computed from the results and nothing else."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from widebasin.report import statistics
from widebasin.report.figures import method_name, setting_name
from widebasin.report.statistics import Metric, varying
from widebasin.studies.study import Options


def trends(
    gains: pd.DataFrame, paired: pd.DataFrame, metric: Metric, baseline: str, radii: Sequence[float]
) -> list[str]:
    """For every method and setting: how gain and chosen radius move with the number of parameters.

    Args:
        gains: rows of ``statistics.gain_table``.
        paired: rows of ``statistics.paired_gains``.
        metric: of the gains.
        baseline: the method over which they are measured.
        radii: all that were tried.
    """
    columns = [*varying(gains), "method"]
    sentences = []
    for key, rows in gains.groupby(columns, sort=False):
        mine = paired[np.logical_and.reduce([paired[c] == v for c, v in zip(columns, key, strict=True)])]
        rows = rows.sort_values("num_params")
        setting = setting_name(rows, varying(gains))
        subject = method_name(key[-1]) + (f" at {setting}" if setting else "")
        sentences.append(f"{subject}: {_gain_sentence(rows, mine, metric, method_name(baseline))}")
        sentences += [f"{subject}: {sentence}" for sentence in _radius_sentences(rows, radii)]
    diverged = int(gains["diverged"].sum())
    if diverged:
        sentences.append(f"{diverged} of the networks compared diverged; they are in the table of results.")
    return sentences


def _gain_sentence(rows: pd.DataFrame, paired: pd.DataFrame, metric: Metric, baseline: str) -> str:
    digits = 1 if metric.unit == "%" else 4
    unit = "points" if metric.unit == "%" else metric.name
    first, last = rows.iloc[0], rows.iloc[-1]
    slope = statistics.slope_per_decade(paired)
    if slope is None:
        return f"{_with_error(first, digits)} {unit} over {baseline} at {first.num_params:,} parameters."
    interval = f" (95% interval {slope.low:.{digits}f} to {slope.high:.{digits}f})"
    if not np.isfinite(slope.low):
        verdict, interval = "one seed gives no interval", ""
    elif slope.low > 0:
        verdict = "the gain grows with the number of parameters"
    elif slope.high < 0:
        verdict = "the gain shrinks with the number of parameters"
    else:
        verdict = "no trend beyond the spread of the seeds"
    return (
        f"{verdict}. It goes from {_with_error(first, digits)} {unit} over {baseline} at {first.num_params:,} "
        f"parameters to {_with_error(last, digits)} at {last.num_params:,}; slope {slope.mean:+.{digits}f} {unit} "
        f"per tenfold parameters{interval}."
    )


def _radius_sentences(rows: pd.DataFrame, radii: Sequence[float]) -> list[str]:
    sentences = []
    if rows["rho_star"].nunique() > 1:
        rank = rows["num_params"].corr(rows["rho_star"], method="spearman")
        sentences.append(
            f"the chosen radius goes from {rows['rho_star'].iloc[0]:g} to {rows['rho_star'].iloc[-1]:g} "
            f"(rank correlation with the number of parameters {rank:+.2f})."
        )
    largest = max(radii)
    edge = rows.loc[rows["rho_star"] == largest, "num_params"]
    if len(radii) > 1 and len(edge):
        sentences.append(
            f"at {' and '.join(f'{n:,}' for n in edge)} parameters the chosen radius is the largest tried "
            f"({largest:g}); a larger one may do better still."
        )
    return sentences


def selection_note(options: Options) -> str:
    """How the radius was chosen, and what that means."""
    epoch = "final epoch" if options.at == "final" else "best validation epoch"
    if options.select == "test":
        return f"The radius was chosen on the test split itself ({epoch}), the paper's protocol: gains are optimistic."
    return f"The radius was chosen on the validation split, the gain is on the test split ({epoch})."


def _with_error(row: pd.Series, digits: int) -> str:
    certain = np.isfinite(row.standard_error)
    return f"{row.gain:+.{digits}f}" + (f" ± {row.standard_error:.{digits}f}" if certain else "")
