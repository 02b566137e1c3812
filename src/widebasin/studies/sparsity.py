"""Does a large sparse network keep the large network's gain? (Finding 5 of arXiv 2311.17539.)

Grid: the widths of a workload, dense, and the largest one pruned at initialization, at random and by SNIP, to the
parameter counts of the others, x {SGD, SAM at every radius} x seeds. Statistic: SAM's gain over SGD of dense and of
pruned networks, each at its own radius; and, at equal counts, the difference of the gains, paired by seed.
"""

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from widebasin.studies.study import BASELINE, Options, Study, Tables, check_one_setting
from widebasin.sweep import Resolved, Spec, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from widebasin.report.page import Answer
    from widebasin.report.statistics import Interval, Metric
    from widebasin.report.tables import Table

QUESTION = "Does a large network, pruned to the size of a small one, keep the large gain of SAM over SGD?"

# Counts within this share of each other are equal: biases stay, and levels are rounded.
EQUAL = 0.02
PRUNED_BY = {"none": "dense", "random": "pruned at random", "snip": "pruned by SNIP"}


def answer(spec: Resolved, tables: Tables, options: Options) -> "Answer":
    """Tables, findings and figures of the study."""
    from widebasin.report import figures, statistics
    from widebasin.report.page import Picture
    from widebasin.report.tables import gain_decimals, gains_table
    from widebasin.studies.findings import selection_note
    from widebasin.studies.overparam import gain_answer
    from widebasin.workloads import WORKLOADS

    metric = statistics.metric_of(tables.results)
    gains, paired, radii = (
        table.sort_values(["sparsity", "pruner"], kind="stable", ignore_index=True).assign(
            network=lambda rows: rows["pruner"].map(PRUNED_BY)
        )
        for table in (
            statistics.gain_table(tables.results, BASELINE, options.select, options.at),
            statistics.paired_gains(tables.results, BASELINE, options.select, options.at),
            statistics.radius_table(tables.results, options.at),
        )
    )
    # Of one width, what tells series apart is how a network was pruned, not how far: that is on the axis.
    several_widths = gains.loc[gains["sparsity"] > 0, "width"].nunique() > 1
    one_series = {"pruner": "none"} | ({} if several_widths else {"sparsity": 0.0})
    plain = gain_answer(
        spec, gains.assign(**one_series), paired.assign(**one_series), radii.assign(**one_series), metric
    )
    equal = _equal_counts(gains, paired)
    largest = gains[gains["width"] == gains["width"].max()]
    digits = gain_decimals(metric, gains)
    return replace(
        plain,
        title=f"SAM, overparameterization and sparsity: {WORKLOADS[spec.workload].description}",
        question=QUESTION,
        findings=(*_findings(equal, metric, digits), *plain.findings, selection_note(options)),
        tables=(
            gains_table(gains.assign(pruner="none"), metric, BASELINE),
            *([_equal_table(equal, metric, digits)] if equal else []),
        ),
        pictures=(
            plain.pictures[0],
            Picture(
                "gain-against-sparsity",
                f"Gain against sparsity of the network of width {largest['width'].iloc[0]}",
                figures.gain_against_sparsity(largest, metric),
            ),
            *plain.pictures[1:],
        ),
    )


def _equal_counts(gains: "pd.DataFrame", paired: "pd.DataFrame") -> "list[dict[str, Any]]":
    """The largest network, pruned, beside the dense one of as many parameters; the difference of gains over seeds."""
    from widebasin.report import statistics

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
        by_seed = [
            paired[(paired[columns] == [one[c] for c in columns]).all(axis=1)].set_index("seed")["gain"]
            for one in (pruned, small)
        ]
        common = by_seed[0].index.intersection(by_seed[1].index)
        if len(common):
            # NaN if one of the networks diverged: none is left out.
            difference = statistics.t_interval(by_seed[0][common] - by_seed[1][common])
            rows.append({"pruned": pruned, "dense": small, "difference": difference})
    return rows


def _findings(equal: "list[dict[str, Any]]", metric: "Metric", digits: int) -> list[str]:
    from itertools import groupby

    from widebasin.report.drawing import method_name

    if not equal:
        return [
            "Pruned, the largest network never has as many parameters as a dense one (within 2%): nothing is compared."
        ]
    unit = f" {metric.gain_unit}" if metric.gain_unit else ""
    sentences = []
    by = lambda one: (one["pruned"]["network"], one["pruned"]["method"])  # noqa: E731
    for (network, method), group in groupby(sorted(equal, key=by), key=by):
        rows = list(group)
        more = sum(one["difference"].low > 0 for one in rows)
        less = sum(one["difference"].high < 0 for one in rows)
        differ = sum(one["pruned"]["rho_star"] != one["dense"]["rho_star"] for one in rows)
        detail = "; ".join(
            f"{_difference_words(one['difference'], digits, unit)} at {one['dense']['num_params']:,} parameters"
            for one in rows
        )
        sentences.append(
            f"{network[:1].upper()}{network[1:]}, the largest network gains more from {method_name(method)} than a "
            f"dense one of as many parameters at {more} of {len(rows)} sizes, and less at {less}, beyond the spread of "
            f"the seeds. Difference of the gains: {detail}. The chosen radii differ at {differ} of {len(rows)} sizes."
        )
    return sentences


def _difference_words(difference: "Interval", digits: int, unit: str) -> str:
    from widebasin.studies.findings import interval_words

    if not isfinite(difference.mean):
        return "none that is finite"
    doubt = interval_words(difference.low, difference.high, f"+.{digits}f")
    return f"{difference.mean:+.{digits}f}{unit} ({doubt})"


def _equal_table(equal: "list[dict[str, Any]]", metric: "Metric", digits: int) -> "Table":
    from widebasin.report.drawing import method_name, setting_value
    from widebasin.report.tables import NONE, Table

    several = len({one["pruned"]["method"] for one in equal}) > 1
    rows = []
    for one in equal:
        pruned, dense, difference = one["pruned"], one["dense"], one["difference"]
        finite, certain = isfinite(difference.mean), isfinite(difference.low)
        rows.append(
            (
                f"{dense['num_params']:,}",
                *([method_name(pruned["method"])] if several else []),
                pruned["network"],
                setting_value("sparsity", pruned["sparsity"]),
                *(f"{gain:+.{digits}f}" if isfinite(gain) else NONE for gain in (pruned["gain"], dense["gain"])),
                f"{difference.mean:+.{digits}f}" if finite else NONE,
                f"{difference.low:+.{digits}f} to {difference.high:+.{digits}f}" if certain else NONE,
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
        "95% interval",
        "rho* sparse / dense",
    )
    unit = f", {metric.gain_unit}" if metric.gain_unit else ""
    title = f"Pruned against dense at equal counts{unit}"
    return Table(title, columns, tuple(rows), "Differences are paired by seed.")


def check_setting(spec: Resolved) -> None:
    """The study compares sparsities in one setting, and needs a pruned network."""
    check_one_setting(spec, "dense and pruned networks", varied=("sparsity", "pruners"))
    if not any(spec.sparsity or ()):
        raise UsageError("sparsity", spec.sparsity, "must have a share above 0, or widths to be matched by pruning")


SPARSITY = Study(
    name="sparsity",
    question=QUESTION,
    spec=Spec(study="sparsity", prune="largest", pruners=("random", "snip")),
    answer=answer,
    example="--workload digits-resnet --widths 2 4 8 --seeds 3 --out results/sparse-resnet",
    check_setting=check_setting,
)
