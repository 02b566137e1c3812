"""Made-up sweeps: what a results folder says of itself, without a workload and its data."""

import pandas as pd
from report.results_tables import METRICS, history_table

from widebasin.sam import METHODS
from widebasin.statistics import Metric
from widebasin.studies.tables import Tables
from widebasin.sweep import Spec, resolve
from widebasin.sweep.axes import AXES as TABLE
from widebasin.sweep.axes import COMPARED
from widebasin.sweep.description import AxisFacts, Description, MethodFacts, Published
from widebasin.sweep.folder import ResultsFolder

AXES = tuple(AxisFacts(axis.name, axis.phrase, axis.percent) for axis in TABLE if axis.name not in COMPARED)


def description(
    metric: str | Metric = "accuracy", *, optimizer: str = "SGD", published: Published | None = None
) -> Description:
    """Of a sweep with every method; of the axes those of all sweeps."""
    titles = {name: method.title for name, method in METHODS.items()} | {"sgd": optimizer}
    costs = {name: float(method.with_radius(0.0).gradients_per_step) for name, method in METHODS.items()}
    return Description(
        title="a made-up problem",
        model="mlp",
        data="made-up data",
        metrics=(METRICS[metric] if isinstance(metric, str) else metric,),
        methods={name: MethodFacts(title, costs[name]) for name, title in titles.items()},
        axes=AXES,
        recipe=("60 epochs", "batch 32", "seeds 0 to 2"),
        published=published,
    )


def tables(results, measured=None, **facts) -> Tables:
    """What a made-up sweep holds; its metric is the one that the results have a column of."""
    judged = next((name for name in METRICS if f"test_{name}" in results), "loss")
    history = history_table(results) if len(results) else results
    return Tables(results, history, description(**({"metric": judged} | facts)), measured or {})


def folder_of(path, spec: Spec, results: pd.DataFrame, said: Description | None = None) -> ResultsFolder:
    """A results folder of a sweep that nobody trained, and which keeps no parameters."""
    spec = resolve(spec)
    results = results.assign(epochs=spec.epochs, parameters="")
    environment = {
        "versions": {"widebasin": "0", "jax": "0.10"},
        "platform": "a machine",
        "device": "cpu",
        "data": {"name": "made-up data", "sha256": "0" * 64},
    }
    plan = {"networks_at_once": 1, "loop": "scan", "platform": "cpu"}
    plans = {f"{spec.workload}-width-{width}-{method}": plan for width in spec.widths for method in spec.methods}
    folder = ResultsFolder(path)
    folder.begin(spec, said or description(), plans, [environment])
    folder.write_table(path / "results.parquet", results)
    folder.write_table(path / "history.parquet", history_table(results, spec.epochs))
    return folder
