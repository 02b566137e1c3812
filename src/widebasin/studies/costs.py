"""The cost of a sweep as a table and in words."""

import math
import shutil
from pathlib import Path

from widebasin.report.tables import Table
from widebasin.statistics.intervals import NONE
from widebasin.sweep.accelerators import Accelerators
from widebasin.sweep.cost import Cost
from widebasin.sweep.units import bytes_in_words, duration


def cost_table(cost: Cost) -> Table:
    """One row per cell of the grid, and a row for the total."""
    rows = [
        (
            str(one.width),
            ", ".join(one.methods),
            str(one.networks),
            f"{one.parameters:,}",
            f"{one.operations:.2g}",
            bytes_in_words(one.memory),
            _time(one.seconds),
        )
        for one in cost.cells
    ]
    whole = (str(cost.networks), "", f"{cost.operations:.2g}", bytes_in_words(cost.memory), _time(cost.seconds))
    return Table(
        title="Estimated cost",
        columns=("width", "methods", "networks", "parameters", "FLOPs", "memory on a device", "time here"),
        rows=(*rows, ("all", "", *whole)),
        note="FLOPs: training and evaluation, as counted by XLA. Memory: parameters, states and values stored for the "
        "gradient of a batch, before XLA's savings; the total is the largest. Time: compilation included.",
    )


def cost_sentences(cost: Cost, path: Path, accelerators: Accelerators | None = None) -> list[str]:
    """Sentences on how the time was estimated, the time on accelerators, and disk space.

    Args:
        cost: the cost of a sweep.
        path: path of its results folder, which need not exist.
        accelerators: the accelerators to estimate for, already checked.
    """
    sentences = []
    if cost.calibrated:
        widths = " and ".join(map(str, cost.calibrated))
        sentences.append(
            f"The time here was estimated from training networks of width {widths} for a moment "
            f"({cost.calibration_seconds:.0f} s, compilation included)."
        )
        if unknown := sorted({one.width for one in cost.cells if math.isnan(one.seconds)}):
            sentences.append(f"Width {' and '.join(map(str, unknown))}: more than this machine's memory.")
    else:
        sentences.append(
            "The time here is unknown: the data are missing, the networks take more than this machine's memory, or "
            "nothing was timed."
        )
    if accelerators is not None:
        seconds = duration(accelerators.seconds(cost.operations, cost.precision))
        peak = f"{100 * accelerators.efficiency:g}% of its {accelerators.peak(cost.precision) / 1e12:g} TFLOP/s"
        sentences.append(
            f"On {accelerators.count} {accelerators.name}: {seconds} in total, if each runs at {peak}. That rate is "
            "assumed, not measured; small networks reach less."
        )
        if cost.memory > accelerators.memory:
            sentences.append(
                f"The largest network takes {bytes_in_words(cost.memory)}, but {accelerators.name} has "
                f"{bytes_in_words(accelerators.memory)}: use --microbatch, or split its batches with --devices."
            )
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    sentences.append(
        f"Disk: at most {bytes_in_words(cost.disk)} besides tables and figures; {bytes_in_words(free)} are free."
    )
    return sentences


def _time(seconds: float) -> str:
    return duration(seconds) if math.isfinite(seconds) else NONE
