"""Whether the learning rate and the radius found on a small network are also the best on a large one.

A table of results has several widths and parametrizations, and at each of them every method at every learning rate and
radius. The best of these is chosen on validation; how far it moves with the width is a number of factors of two, with a
percentile bootstrap interval over seeds.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from widebasin.statistics.design import ONE_SETTING, Design
from widebasin.statistics.gains import TIE, best_trials, selection_scores, unjudged
from widebasin.statistics.intervals import CONFIDENCE, Interval, rounding_of, t_interval

LEARNING_RATE, RADIUS, PARAMETRIZATION = "learning_rate", "rho", "parametrization"
SETTINGS = (LEARNING_RATE, RADIUS)
TRIAL = (RADIUS, LEARNING_RATE)
RESAMPLES = 2_000
# Seeds that resampling says something about: where there is no movement, all of four are on one side of 0 in one case
# of eight, and then every resample is.
LEAST_SEEDS = 5
# Of the resamples of seeds: the same table gives the same intervals.
RESAMPLING_SEED = 0


@dataclass(frozen=True)
class Optima:
    """The best learning rate and radius at every width, and how far they move.

    Attributes:
        table: one row per parametrization, width and method: ``parametrization``, ``width``, ``num_params``,
            ``method``; ``learning_rate`` and ``rho``, the best of those tried; ``best_learning_rate`` and ``best_rho``,
            the same between those tried, each with ``_low`` and ``_high``, its bootstrap interval, and ``_edge``:
            ``smallest`` or ``largest`` if the best of those tried is at that end, else empty; ``value``, the mean test
            metric in its unit; ``seeds``.
        shifts: one row per parametrization, method and setting that was varied: ``parametrization``, ``method``,
            ``setting`` (``learning_rate`` or ``rho``); ``small_width``, ``large_width``, ``small`` and ``large``, the
            best values there; ``shift``, ``log2(large / small)``, and ``slope``, the least-squares slope of the log2 of
            the best value against log2(width), each with ``_low`` and ``_high``; ``seeds``.
    """

    table: pd.DataFrame
    shifts: pd.DataFrame


@dataclass(frozen=True)
class _Grid:
    """The scores of one method, higher is better, -inf if diverged: [parametrization, width, radius, rate, seed]."""

    parametrizations: tuple[str, ...]
    widths: tuple[int, ...]
    rhos: tuple[float, ...]
    learning_rates: tuple[float, ...]
    seeds: tuple[int, ...]
    scores: np.ndarray


def over_learning_rates(design: Design) -> Design:
    """The design of tables in which every method has one learning rate per setting, its own."""
    return replace(design, setting=tuple(column for column in design.setting if column != LEARNING_RATE))


def best_settings(results: pd.DataFrame, design: Design, select: str = "valid", at: str = "final") -> pd.DataFrame:
    """The learning rate and radius with the best mean of the selection metric over seeds, of those tried.

    Args:
        results: rows of results.parquet.
        design: setting, with ``learning_rate``, and metric.
        select: split on which the mean is taken, ``valid`` or ``test``.
        at: ``final`` epoch or ``best`` validation epoch.

    Returns:
        The setting without ``learning_rate``, ``method``, ``rho`` and ``learning_rate``. Equal means and diverged
        networks are treated as in ``gains.chosen_radii``; of equal means with one radius, the smallest learning rate is
        chosen.

    Raises:
        ValueError: if an argument is invalid, a network occurs twice, or the networks differ in a column of the setting
            other than size, parametrization and learning rate.
    """
    several = [column for column in design.varying(results) if column not in (LEARNING_RATE, PARAMETRIZATION)]
    if several:
        raise ValueError(f"results must have one value of {', '.join(several)}; {ONE_SETTING}")
    return best_trials(results, over_learning_rates(design), TRIAL, select, at)


def best_networks(results: pd.DataFrame, design: Design, select: str = "valid", at: str = "final") -> pd.DataFrame:
    """The rows of results with the learning rate and radius of ``best_settings``, for gains between methods at their
    best.

    The statistics in ``gains`` take these rows with the design ``over_learning_rates(design)``.
    """
    best = best_settings(results, design, select, at)
    return results.merge(best, on=list(best.columns))


def optima(
    results: pd.DataFrame,
    design: Design,
    select: str = "valid",
    at: str = "final",
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Optima:
    """The best learning rate and radius of every method at every width, and their movement with the width.

    Between the values tried, the optimum of a coordinate is the vertex of the parabola in its log2 through the means at
    the best trial and at its two neighbours along that coordinate. The vertex lies at most half a step of the grid from
    the best value tried. There is no parabola at an end of the values tried, beside radius 0, and beside a trial in
    which a network diverged; the optimum is then the best value tried.

    Interval: the seeds are drawn with replacement, the same for all widths, parametrizations and trials; the ends are
    percentiles over the resamples. Fewer than five seeds have no interval, and of few it is too narrow: with five, it
    leaves out the true movement in about one case of six instead of one of twenty.

    Args:
        results: rows of results.parquet; every method has all of its learning rates and radii at every width,
            parametrization and seed.
        design: setting, with ``learning_rate`` and ``parametrization``, and metric.
        select: split on which the mean is taken, ``valid`` or ``test``.
        at: ``final`` epoch or ``best`` validation epoch.
        resamples: number of resamples of the seeds.
        confidence: probability that the intervals are to cover.

    Raises:
        ValueError: as ``best_settings``, or if a network is missing.
    """
    best_settings(results, design, select, at)
    lost = results.loc[unjudged(results, over_learning_rates(design), select, at), "seed"].unique()
    values = results.assign(
        score=selection_scores(results, design, select, at),
        value=design.metric.scale * results[design.column("test", at)],
    )
    # Seeds that cannot choose have no part in where the best is.
    seeds = sorted(set(results["seed"]).difference(lost)) or sorted(results["seed"].unique())
    weights = _seed_weights(len(seeds), resamples)
    tables, shifts = [], []
    for method in dict.fromkeys(results["method"]):
        mine = values[values["method"] == method]
        grid = _grid(mine[mine["seed"].isin(seeds)])
        where, logs = _optima(_means(grid.scores, weights), grid)
        tables.append(_table(mine, grid, where, logs, confidence))
        shifts.append(_shifts(grid, logs, confidence).assign(method=method))
    return Optima(*(in_order(pd.concat(parts, ignore_index=True), results) for parts in (tables, shifts)))


def shift_interval(row: pd.Series, column: str) -> Interval:
    """The ``shift`` or ``slope`` in a row of ``Optima.shifts``, with its interval; it has no standard error."""
    return Interval(
        float(row[column]), float("nan"), float(row[f"{column}_low"]), float(row[f"{column}_high"]), int(row["seeds"])
    )


def transfer_costs(results: pd.DataFrame, design: Design, select: str = "valid", at: str = "final") -> pd.DataFrame:
    """How much worse every width is with the learning rate and radius that are the best at the smallest width.

    ``cost = sign * scale * (test metric at its own best trial - test metric at the smallest width's best trial)``, the
    mean over seeds of one width, with Student's t interval. It is positive if a search at that width would have paid.

    Args:
        results: rows of results.parquet.
        design: setting, with ``learning_rate`` and ``parametrization``, and metric.
        select: split on which trials are chosen, ``valid`` or ``test``.
        at: ``final`` epoch or ``best`` validation epoch.

    Returns:
        One row per parametrization, method and width: ``parametrization``, ``method``, ``width``, ``num_params``;
        ``learning_rate`` and ``rho``, its own best of those tried; ``small_learning_rate`` and ``small_rho``, those of
        the smallest width; ``same``, whether they agree; ``own_value`` and ``value``, mean test metrics with these and
        with those; ``cost``, ``standard_error``, ``low``, ``high`` in the metric's unit, NaN if a network has no finite
        value; ``seeds``; ``diverged``, the number of networks that diverged with the smallest width's.

    Raises:
        ValueError: as ``best_settings``.
    """
    best = best_settings(results, design, select, at)
    keys = [PARAMETRIZATION, "method", "width"]
    test = results.assign(value=design.metric.scale * results[design.column("test", at)].astype(float))
    trials = test.set_index([*keys, *TRIAL])[["seed", "value", "diverged"]].sort_index()
    rows = []
    for (parametrization, method), group in best.groupby(keys[:2], sort=False):
        ordered = group.sort_values("width").to_dict("records")
        small = tuple(ordered[0][name] for name in TRIAL)
        for one in ordered:
            at_width = (parametrization, method, one["width"])
            own_trial = tuple(one[name] for name in TRIAL)
            own, moved = (trials.loc[[(*at_width, *trial)]].set_index("seed") for trial in (own_trial, small))
            both = moved.join(own["value"].rename("own_value"), how="inner")
            costs = design.metric.sign * (both["own_value"] - both["value"])
            cost = t_interval(costs, rounding=rounding_of(both[["own_value", "value"]]))
            rows.append(
                dict(zip(keys, at_width, strict=True))
                | {
                    "num_params": one["num_params"],
                    LEARNING_RATE: one[LEARNING_RATE],
                    RADIUS: one[RADIUS],
                    "small_learning_rate": small[1],
                    "small_rho": small[0],
                    "same": own_trial == small,
                    "own_value": float(both["own_value"].to_numpy().mean()),
                    "value": float(both["value"].to_numpy().mean()),
                    "cost": cost.mean,
                    "standard_error": cost.standard_error,
                    "low": cost.low,
                    "high": cost.high,
                    "seeds": cost.count,
                    "diverged": int(both["diverged"].sum()),
                }
            )
    return in_order(pd.DataFrame(rows), results)


def in_order(table: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """The rows sorted by parametrization, then method, in the order in which the results have them."""
    by = [PARAMETRIZATION, "method"]
    places = {name: {value: place for place, value in enumerate(dict.fromkeys(results[name]))} for name in by}
    return table.sort_values(
        by, key=lambda column: column.map(places[str(column.name)]), kind="stable", ignore_index=True
    )


def _grid(table: pd.DataFrame) -> _Grid:
    """The scores of one method as an array.

    Raises:
        ValueError: if a network is missing.
    """
    axes = [PARAMETRIZATION, "width", *TRIAL, "seed"]
    parametrizations = tuple(dict.fromkeys(table[PARAMETRIZATION]))
    widths, rhos, rates, seeds = (tuple(sorted(table[name].unique())) for name in axes[1:])
    values = (parametrizations, widths, rhos, rates, seeds)
    whole = pd.MultiIndex.from_product(values, names=axes)
    if len(whole) != len(table):
        raise ValueError(
            f"results must have every learning rate and radius of {table['method'].iloc[0]} at every width, "
            f"parametrization and seed, {len(whole)} networks, got {len(table)}"
        )
    scores = table.set_index(axes)["score"].reindex(whole).to_numpy(float).reshape([len(one) for one in values])
    return _Grid(parametrizations, widths, rhos, rates, seeds, scores)


def _seed_weights(seeds: int, resamples: int) -> np.ndarray:
    """The share of every seed, [1 + resamples, seeds]: equal in the first row, of a resample in the others."""
    drawn = np.random.default_rng(RESAMPLING_SEED).integers(seeds, size=(resamples, seeds))
    counts = (drawn[:, :, None] == np.arange(seeds)).sum(1)
    return np.concatenate([np.ones((1, seeds)), counts]) / seeds


def _means(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means over the last axis, first axis: rows of weights; -inf if a seed of positive weight is -inf."""
    finite = np.isfinite(scores)
    means = np.where(finite, scores, 0.0) @ weights.T
    return np.moveaxis(np.where(~finite @ weights.T > 0, -np.inf, means), -1, 0)


def _optima(means: np.ndarray, grid: _Grid) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the best trials, and log2 of the optima between them; last axis: radius, learning rate.

    The logarithm is -inf at radius 0, and NaN if networks diverged in every trial.

    Args:
        means: of the scores, [..., radius, learning rate].
        grid: the values tried.
    """
    flat = means.reshape(*means.shape[:-2], -1)
    best = flat.max(-1, keepdims=True)
    # As in gains.best_trials: of equal means the smallest radius, then the smallest learning rate.
    near = flat >= np.where(np.isfinite(best), best - TIE * np.abs(best), best)
    radius, rate = np.unravel_index(near.argmax(-1), means.shape[-2:])
    along_rates = np.take_along_axis(means, radius[..., None, None], -2)[..., 0, :]
    along_radii = np.take_along_axis(means, rate[..., None, None], -1)[..., 0]
    logs = np.stack([_vertex(along_radii, radius, grid.rhos), _vertex(along_rates, rate, grid.learning_rates)], -1)
    return np.stack([radius, rate], -1), np.where(np.isfinite(best), logs, np.nan)


def _vertex(means: np.ndarray, best: np.ndarray, values: tuple[float, ...]) -> np.ndarray:
    """log2 of the best value, moved to the vertex of the parabola through it and its neighbours where there is one.

    The parabola's slope halfway to the lower neighbour is ``(y - y_lower) / (x - x_lower) >= 0``, halfway to the upper
    one ``(y_upper - y) / (x_upper - x) <= 0``, and linear between: it is 0 between these points.
    """
    with np.errstate(divide="ignore"):
        x = np.log2(np.asarray(values, float))
    lower, upper = np.maximum(best - 1, 0), np.minimum(best + 1, len(x) - 1)
    y_lower, y, y_upper = (np.take_along_axis(means, at[..., None], -1)[..., 0] for at in (lower, best, upper))
    inner = (lower < best) & (best < upper) & np.isfinite(x[lower]) & np.isfinite(y_lower) & np.isfinite(y_upper)
    with np.errstate(divide="ignore", invalid="ignore"):
        rise, fall = (y - y_lower) / (x[best] - x[lower]), (y - y_upper) / (x[upper] - x[best])
        share = np.clip(rise / (rise + fall), 0.0, 1.0)
        vertex = (x[lower] + x[best]) / 2 + share * (x[upper] - x[lower]) / 2
    return np.where(inner & np.isfinite(vertex), vertex, x[best])


def _percentiles(resampled: np.ndarray, seeds: int, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the percentile interval over the first axis; NaN for fewer than five seeds.

    An unknown value may be any: it counts as infinitely low for the lower end and as infinitely high for the upper.
    """
    if seeds < LEAST_SEEDS:
        nothing = np.full(resampled.shape[1:], np.nan)
        return nothing, nothing
    last, tail = len(resampled) - 1, (1 - confidence) / 2
    unknown = np.isnan(resampled)
    low = np.sort(np.where(unknown, -np.inf, resampled), axis=0)[int(np.floor(tail * last))]
    high = np.sort(np.where(unknown, np.inf, resampled), axis=0)[int(np.ceil((1 - tail) * last))]
    return low, high


def _table(table: pd.DataFrame, grid: _Grid, where: np.ndarray, logs: np.ndarray, confidence: float) -> pd.DataFrame:
    """``Optima.table`` of one method."""
    low, high = _percentiles(logs[1:], len(grid.seeds), confidence)
    counts = table.drop_duplicates([PARAMETRIZATION, "width"]).set_index([PARAMETRIZATION, "width"])["num_params"]
    means = table.groupby([PARAMETRIZATION, "width", *TRIAL])["value"].agg(lambda one: one.to_numpy(float).mean())
    rows = []
    for p, parametrization in enumerate(grid.parametrizations):
        for w, width in enumerate(grid.widths):
            size = {"width": width, "num_params": counts[parametrization, width]}
            row = {PARAMETRIZATION: parametrization, **size, "method": table["method"].iloc[0]}
            for number, (name, values) in enumerate(zip(TRIAL, (grid.rhos, grid.learning_rates), strict=True)):
                index = where[0, p, w, number]
                row[name] = values[index]
                row[f"best_{name}"] = 2.0 ** logs[0, p, w, number]
                row[f"best_{name}_low"], row[f"best_{name}_high"] = 2.0 ** low[p, w, number], 2.0 ** high[p, w, number]
                row[f"{name}_edge"] = _edge(values, index)
            row["value"] = means[parametrization, width, row[RADIUS], row[LEARNING_RATE]]
            rows.append(row | {"seeds": len(grid.seeds)})
    return pd.DataFrame(rows)


def _edge(values: tuple[float, ...], index: int) -> str:
    """The end of the values tried that an index is at; below radius 0 there is nothing to try."""
    if len(values) < 2 or 0 < index < len(values) - 1 or values[index] == 0:
        return ""
    return "largest" if index else "smallest"


def _shifts(grid: _Grid, logs: np.ndarray, confidence: float) -> pd.DataFrame:
    """``Optima.shifts`` of one method, without its name; no rows for one width."""
    columns = [PARAMETRIZATION, "setting", "small_width", "large_width", "small", "large"]
    columns += [f"{name}{end}" for name in ("shift", "slope") for end in ("", "_low", "_high")] + ["seeds"]
    rows = []
    varied = [n for n, values in enumerate((grid.rhos, grid.learning_rates)) if len(values) > 1]
    if len(grid.widths) > 1:
        doublings = np.log2(np.asarray(grid.widths, float))
        apart = doublings - doublings.mean()
        with np.errstate(invalid="ignore"):
            # Rounded: an optimum that stays must not seem to move by the rounding of a sum.
            shift = np.round(logs[:, :, -1] - logs[:, :, 0], 9) + 0.0
            slope = np.round(np.einsum("bpwc,w->bpc", logs, apart / (apart @ apart)), 9) + 0.0
        ends = {
            name: _percentiles(one[1:], len(grid.seeds), confidence)
            for name, one in zip(("shift", "slope"), (shift, slope), strict=True)
        }
        for p, parametrization in enumerate(grid.parametrizations):
            for n in reversed(varied):
                found = [parametrization, TRIAL[n], grid.widths[0], grid.widths[-1]]
                found += [2.0 ** logs[0, p, w, n] for w in (0, -1)]
                for name, one in (("shift", shift), ("slope", slope)):
                    found += [one[0, p, n], *(end[p, n] for end in ends[name])]
                rows.append([*found, len(grid.seeds)])
    return pd.DataFrame(rows, columns=columns)
