"""Is it linearization that explains the gain? (Finding 7 of arXiv 2311.17539.)

Grid: one width x scales alpha of the lazy regime x {SGD, SAM at every radius} x seeds. At large alpha the weights of
the centered model ``alpha (f(w) - f(w0))`` hardly move, as if it were linear in them (Chizat et al. 2019). Statistic:
SAM's gain over SGD at every scale; and the stability of activations, the share of ReLU and max-pool patterns on test
examples that are as they were at initialization.
"""

from math import isfinite, nan
from typing import TYPE_CHECKING

from widebasin.studies.study import BASELINE, Options, Study, Tables, check_one_setting
from widebasin.sweep import Resolved, Spec, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from widebasin.report.page import Answer
    from widebasin.report.statistics import Metric
    from widebasin.studies.measuring import Instrument

# From this scale on, float32 is too coarse for f(w) - f(w0).
NEEDS_FLOAT64 = 1e3

QUESTION = "Does SAM still gain over SGD where the network is nearly linear in its parameters?"


def instruments(spec: Resolved, options: Options) -> "Sequence[Instrument]":
    """Stability of activations."""
    from widebasin.studies.instruments import activations_instrument

    del spec
    return (activations_instrument(options.samples),)


def answer(spec: Resolved, tables: Tables, options: Options) -> "Answer":
    """Table, findings and figures of the study."""
    from widebasin.report import mechanism_figures, statistics
    from widebasin.report.page import Answer, Picture
    from widebasin.report.tables import gains_table
    from widebasin.studies.findings import edges, selection_note, setting_sentence
    from widebasin.workloads import WORKLOADS

    metric = statistics.metric_of(tables.results)
    gains = statistics.gain_table(tables.results, BASELINE, options.select, options.at)
    paired = statistics.paired_gains(tables.results, BASELINE, options.select, options.at)
    unchanged = _at_chosen_radius(tables.measured["activations"], gains)
    return Answer(
        title=f"The linearized regime: {WORKLOADS[spec.workload].description}",
        question=QUESTION,
        setting=f"width {spec.widths[0] if spec.widths else ''}; {setting_sentence(spec)}",
        findings=(
            *_findings(gains, unchanged, metric),
            *edges(gains, paired, spec.rhos or ()),
            selection_note(options),
        ),
        tables=(gains_table(gains, metric, BASELINE),),
        pictures=(
            Picture(
                "metric-against-scale",
                f"Test {metric.name} against the scale alpha",
                mechanism_figures.metric_against_scale(gains, metric),
            ),
            Picture(
                "activations-against-scale",
                "Stability of activations against the scale alpha",
                mechanism_figures.unchanged_against_scale(unchanged),
            ),
        ),
    )


def _at_chosen_radius(activations: "pd.DataFrame", gains: "pd.DataFrame") -> "pd.DataFrame":
    """Mean share of unchanged patterns per scale and method, of every method at its chosen radius."""
    import numpy as np
    import pandas as pd

    from widebasin.report import statistics

    activations = activations[np.isfinite(activations["unchanged"])]  # those that diverged have none
    chosen = gains[["output_scale", "method", "rho_star"]].rename(columns={"rho_star": "rho"})
    compared = activations.merge(chosen, on=["output_scale", "method", "rho"])
    baseline = activations[activations["method"] == BASELINE]
    means = [
        statistics.means_over_seeds(table.sort_values("output_scale"), ["output_scale", "method"], ["unchanged"])
        for table in (baseline, compared)
    ]
    return pd.concat(means, ignore_index=True)


def _findings(gains: "pd.DataFrame", unchanged: "pd.DataFrame", metric: "Metric") -> list[str]:
    from widebasin.report.drawing import method_name
    from widebasin.report.tables import gain_decimals
    from widebasin.studies.findings import interval_words

    digits = gain_decimals(metric, gains)
    unit = f" {metric.gain_unit}" if metric.gain_unit else ""
    of_baseline = unchanged[unchanged["method"] == BASELINE].set_index("output_scale")["unchanged"]
    sentences = []
    for method, rows in gains.sort_values("output_scale").groupby("method", sort=False):
        ends = rows["output_scale"].min(), rows["output_scale"].max()
        for scale, end in dict(zip(ends, ("least", "most"), strict=True)).items():
            row = rows[rows["output_scale"] == scale].iloc[0]
            share = of_baseline.get(scale, nan)
            activations = (
                f"{100 * share:.1f}% of the activations are" if isfinite(share) else "it is not known how many are"
            )
            doubt = interval_words(row.low, row.high, f"+.{digits}f")
            gain = f"{row.gain:+.{digits}f}{unit} ({doubt})" if isfinite(row.gain) else "nothing that is finite"
            sentences.append(
                f"Where the network is {end} linear (alpha = {scale:g}; {activations} unchanged after "
                f"{method_name(BASELINE)}), {method_name(method)} gains {gain} at radius {row.rho_star:g}."
            )
        lost = rows[rows["high"] < 0]
        sentences.append(
            f"{method_name(method)} loses beyond the spread of the seeds at {len(lost)} of {len(rows)} scales"
            + (f": alpha = {', '.join(f'{s:g}' for s in lost['output_scale'])}." if len(lost) else ".")
        )
    # The baseline's networks are compared with those of every method: count them once.
    baseline = gains.drop_duplicates("output_scale")["baseline_diverged"]
    diverged = int(gains["diverged"].sum() + baseline.sum())
    if diverged:
        sentences.append(f"{diverged} of the networks compared diverged.")
    return sentences


def check_setting(spec: Resolved) -> None:
    """The study compares scales in one setting, of a model whose activations have patterns."""
    from widebasin.workloads import WORKLOADS

    check_one_setting(spec, "scales", varied=("output_scale",), besides=("widths",))
    if any(spec.sparsity or ()):
        raise UsageError("sparsity", spec.sparsity, "must be 0: activations are compared with a dense network's")
    if not spec.centered:
        raise UsageError("output_scale", spec.output_scale, "must be scales alpha, such as 1 100 10000")
    if any(spec.weight_decay or ()):
        raise UsageError(
            "weight_decay", spec.weight_decay, "must be 0: it does not shrink with the scale as gradients do"
        )
    if max(spec.output_scale) >= NEEDS_FLOAT64 and spec.precision != "float64":
        raise UsageError(
            "precision",
            spec.precision,
            f"must be float64 for scales of {NEEDS_FLOAT64:g} and more: outputs change by a share of 1 / alpha",
        )
    if WORKLOADS[spec.workload].model not in ("vgg11", "mlp"):
        raise UsageError("workload", spec.workload, "must have a VGG-11 or an MLP, such as digits-vgg11-lazy")


LINEARIZED = Study(
    name="linearized",
    question=QUESTION,
    spec=Spec(study="linearized", workload="digits-vgg11-lazy", seeds=3),
    answer=answer,
    example="--output-scale 1 1e3 1e6 --rhos 0.001 0.01 --out results/small-radii",
    instruments=instruments,
    check_setting=check_setting,
)
