"""What the trained networks of a results folder are like: the answer of ``widebasin measure``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from widebasin.report import mechanism_figures, statistics
from widebasin.report.drawing import method_name, setting_name
from widebasin.report.mechanism_tables import curvature_table, headings, network_names, verdicts_table, with_error
from widebasin.report.page import Answer, Picture
from widebasin.report.tables import Table
from widebasin.studies.answering import Track, write_page
from widebasin.studies.findings import setting_sentence
from widebasin.studies.instruments import (
    curvature_instrument,
    density_instrument,
    landscape_instrument,
    layers_instrument,
    sharpness_instrument,
    stability_instrument,
)
from widebasin.studies.measuring import Instrument, measure
from widebasin.studies.study import check_samples
from widebasin.sweep import UsageError, resolve, spec_toml
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.networks import StoredNetwork, stored_networks
from widebasin.workloads import WORKLOADS

QUESTION = "How sharp are the minima of these networks, how uneven their Hessians, and are they linearly stable?"

# Networks whose spectrum, landscape and layers are shown; more would not be read.
SHOWN = 6


@dataclass(frozen=True)
class Measures:
    """How networks are measured.

    Attributes:
        samples: training examples that curvature is measured on.
        multiples: of the learning rate of training, at which stability is judged.
        sharpness_rho: radius of worst-case and average sharpness.
    """

    samples: int = 256
    multiples: tuple[float, ...] = (1.0,)
    sharpness_rho: float = 0.05

    def check(self) -> None:
        """Raises ``UsageError`` where a value cannot be."""
        check_samples(self.samples)
        if not self.multiples or not all(np.isfinite(m) and m > 0 for m in self.multiples):
            raise UsageError("multiples", self.multiples, "must be finite numbers > 0")
        if not (np.isfinite(self.sharpness_rho) and self.sharpness_rho > 0):
            raise UsageError("sharpness_rho", self.sharpness_rho, "must be a finite number > 0")


def measure_networks(
    folder: ResultsFolder,
    measures: Measures,
    which: dict[str, Any],
    command: str,
    track: Track | None = None,
) -> tuple[Answer, dict[str, Any]]:
    """Measures networks of a results folder, writes ``measurements/``, figures and ``measure.html`` there.

    What was measured before with the same settings is not measured again.

    Args:
        folder: that keeps its networks' parameters.
        measures: how.
        which: see ``sweep.networks.stored_networks``.
        command: that does this again, for the page.
        track: shows progress.

    Returns:
        The answer, and the same as plain numbers: the rows of every table by its name.

    Raises:
        UsageError: if a value cannot be, the folder holds no sweep or no such network, or the curvature would not be
            that of what was trained.
        SweepError: if parameters were not kept, or the folder is in use or damaged.
    """
    measures.check()
    spec = resolve(folder.spec())
    networks = stored_networks(folder.path, **which)
    _check_curvature(networks)
    shown = _shown(networks)

    def table(instrument: Instrument, of: Sequence[StoredNetwork]) -> pd.DataFrame:
        return measure(folder, instrument, of, track)

    with folder.locked():
        found = {
            "curvature": table(curvature_instrument(measures.samples), networks),
            "stability": table(stability_instrument(measures.samples, measures.multiples), networks),
            "sharpness": table(sharpness_instrument(measures.sharpness_rho), networks),
            "layers": table(layers_instrument(measures.samples), shown),
            "density": table(density_instrument(measures.samples), shown),
            "landscape": table(landscape_instrument(measures.samples), shown),
        }
        answer = Answer(
            title=f"Measured: {WORKLOADS[spec.workload].description}",
            question=QUESTION,
            setting=setting_sentence(spec),
            findings=tuple(_findings(found)),
            tables=tuple(_tables(found, measures)),
            pictures=tuple(_pictures(found)),
        )
        write_page(folder, "measure.html", answer, spec_toml(spec), command)
    return answer, {name: one.replace({np.nan: None}).to_dict("records") for name, one in found.items()}


def _check_curvature(networks: Sequence[StoredNetwork]) -> None:
    """Raises ``UsageError`` where derivatives of the loss of ``f(w)`` are not those of what was trained."""
    cell = networks[0].cell
    if cell.settings.centered:
        raise UsageError("workload", cell.workload, "trained alpha (f(w) - f(w0)), and curvature is measured of f(w)")
    if WORKLOADS[cell.workload].load().files is not None:
        raise UsageError("workload", cell.workload, "streams its images, and curvature is measured on data in memory")
    pruned = sorted({one.point["sparsity"] for one in networks} - {0.0})
    if pruned:
        remedy = "must be 0, as curvature is measured along pruned weights too; --sparsity 0 leaves these networks out"
        raise UsageError("sparsity", pruned, remedy)


def _shown(networks: Sequence[StoredNetwork]) -> list[StoredNetwork]:
    """The first seed's networks, as many as can be read."""
    first = min(network.point.seed for network in networks)
    return [network for network in networks if network.point.seed == first][:SHOWN]


def _by(table: pd.DataFrame) -> list[str]:
    """What tells groups of networks apart that differ by seed alone."""
    return ["width", "num_params", "method", "rho", *statistics.varying(table)]


def _name(row: Any, varying: Sequence[str]) -> str:
    radius = "" if row["method"] == "sgd" else f", rho {row['rho']:g}"
    setting = setting_name(row, varying)
    return f"width {row['width']}, {method_name(row['method'])}{radius}{', ' + setting if setting else ''}"


def _tables(found: dict[str, pd.DataFrame], measures: Measures) -> list[Table]:
    measured = found["curvature"].dropna(subset="sharpness")
    columns = {
        "loss": "loss",
        "gradient_norm": "gradient norm",
        "sharpness": "sharpness",
        "lowest": "lowest eigenvalue",
        "trace": "trace",
        "s2": "non-uniformity s2",
        "s3": "s3",
        "s4": "s4",
    }
    tables = []
    if len(measured):
        means = statistics.means_over_seeds(measured, _by(measured), list(columns))
        tables.append(curvature_table(means, _by(measured), list(columns), list(columns.values())))
    rises = found["sharpness"].dropna(subset="worst_case")
    if len(rises):
        rows = []
        for row in statistics.means_over_seeds(rises, _by(rises), ["worst_case", "average", "adaptive"]).to_dict(
            "records"
        ):
            cells = (with_error(row, column) for column in ("worst_case", "average", "adaptive"))
            rows.append((*network_names(row, _by(rises)), *cells))
        note = (
            "Rise of the training loss at worst in a ball, on average over Gaussian noise, and at worst with the "
            "weights as units; groups of 128 examples; logits of classifiers with cross entropy are normalized."
        )
        columns_of_rises = (*headings(_by(rises)), "worst case", "average", "adaptive worst case")
        tables.append(Table(f"Sharpness within radius {measures.sharpness_rho:g}", columns_of_rises, tuple(rows), note))
    judged = found["stability"].dropna(subset="second_moment")
    if len(judged):
        tables.append(verdicts_table(judged, _by(judged)))
    layers = found["layers"].dropna(subset="sharpness")
    if len(layers):
        varying = statistics.varying(layers)
        rows = [
            (
                _name(row, varying),
                row["layer"],
                f"{row['layer_parameters']:,}",
                f"{row['sharpness']:.3g}",
                f"{row['trace']:.3g} ± {row['trace_error']:.2g}",
            )
            for row in layers.to_dict("records")
        ]
        columns_of_layers = ("network", "layer", "parameters", "sharpness", "trace ± s.e.")
        tables.append(
            Table("Layers", columns_of_layers, tuple(rows), "Of each layer's own block of the Hessian; first seed.")
        )
    return tables


def _findings(found: dict[str, pd.DataFrame]) -> list[str]:
    measured, judged = found["curvature"], found["stability"]
    diverged = int(measured["sharpness"].isna().sum())
    judged = judged.dropna(subset="second_moment")
    sentences = []
    if diverged:
        sentences.append(f"Networks that diverged, with nothing to measure: {diverged}.")
    if len(judged):
        sentences.append(
            f"By condition (6), {int(judged['stable'].sum())} of {len(judged)} verdicts are stable, at batch size 1, "
            "without momentum, at the first learning rate of the schedule."
        )
    sound = measured.dropna(subset="sharpness")
    unsure = int((~sound["converged"].astype(bool)).sum()) + int((~judged["converged"].astype(bool)).sum())
    if unsure:
        sentences.append(f"{unsure} measurements have an eigenvalue that did not converge.")
    return sentences


def _pictures(found: dict[str, pd.DataFrame]) -> list[Picture]:
    pictures = []
    for name, title, draw in (
        ("density", "Spectrum of the Hessian", mechanism_figures.spectral_densities),
        ("landscape", "Loss around the minimum", mechanism_figures.loss_along_directions),
    ):
        table = found[name].dropna()
        if len(table):
            varying = statistics.varying(table)
            names = [_name(row, varying) for row in table.to_dict("records")]
            pictures.append(Picture(f"measured-{name}", title, draw(table.assign(network=names))))
    return pictures
