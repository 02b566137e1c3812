"""Made-up sweeps over learning rates and radii whose optima are known: parabolas in the logarithms."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from report.results_tables import METRICS, Network, results_table, wording_for

from widebasin.report.wording import Wording

RATES, RADII = (0.05, 0.1, 0.2, 0.4), (0.05, 0.1, 0.2, 0.4, 0.8)
# log2 of the best learning rate and radius over those of width 10, at ten times the width.
SHIFTS = {"standard": (-1.0, 1.5), "mup": (0.0, 1.5), "mup2": (0.0, 0.0)}
# A learning rate and a radius between those tried: the optimum at width 10.
RATE, RADIUS = 0.22, 0.11
# Gain of SAM at its best, and what a factor of two from the best learning rate or radius costs, as fractions.
GAIN, LOSS_RATE, LOSS_RADIUS = 0.03, 0.02, 0.01


def optimum(parametrization: str, width: int) -> tuple[float, float]:
    """log2 of the best learning rate and radius."""
    rate, radius = SHIFTS[parametrization]
    tens = np.log10(width / 10)
    return np.log2(RATE) + rate * tens, np.log2(RADIUS) + radius * tens


def transfer_table(
    parametrizations: Sequence[str] = ("standard", "mup", "mup2"),
    rates: Sequence[float] = RATES,
    rhos: Sequence[float] = RADII,
    *,
    metric: str = "accuracy",
    spread: float = 0.0,
    diverged: Callable[[Network, float], bool] = lambda network, rate: False,
    **grid,
) -> pd.DataFrame:
    """0.9 at the optimum of SGD, more for SAM; ``spread`` is how far the optimum moves from seed to seed, in log2."""
    sign = METRICS[metric].sign
    grid = {"seeds": range(5)} | grid

    def value(kind: str, rate: float) -> Callable[[Network], float]:
        def test(network: Network) -> float:
            best_rate, best_radius = optimum(kind, network.width)
            moved = spread * (network.seed - 2)
            away = np.log2(rate) - best_rate - moved
            reached = 0.9 - LOSS_RATE * away**2 + 0.001 * network.seed
            if network.method != "sgd":
                with np.errstate(divide="ignore"):
                    far = np.clip(np.log2(network.rho), -20, None) - best_radius - moved
                reached += GAIN - LOSS_RADIUS * far**2
            return reached if sign > 0 else 1 - reached

        return test

    return pd.concat(
        [
            results_table(
                value(kind, rate),
                metric=metric,
                rhos=rhos,
                diverged=lambda network, rate=rate: diverged(network, rate),
                **grid,
            ).assign(learning_rate=rate, parametrization=kind)
            for kind in parametrizations
            for rate in rates
        ],
        ignore_index=True,
    )


def transfer_wording(metric: str = "accuracy", phrases: Mapping[str, str] | None = None) -> Wording:
    return dataclasses.replace(wording_for(metric), phrases=phrases or {"parametrization": "{} parametrization"})
