"""Statistics of tables of results: metrics, paired gains, intervals, trends, the choice of the radius.

This package itself imports only ``Metric`` and ``Design``, so that training can use metrics without pandas:

* ``design``: which networks are compared, and by which metric;
* ``intervals``: a mean with its uncertainty and the words for it;
* ``gains``: chosen radii, gains over the baseline paired by seed;
* ``readings``: gains by every metric, at every epoch, with radii chosen on every split;
* ``trends``: how gains change with the number of parameters;
* ``transfer``: how far the best learning rate and radius move with the width, and what their transfer costs;
* ``measurements``: means over seeds, ratios and distances to the baseline, for measurements of networks;
* ``decay``: how fast a loss falls;
* ``ranking``: average precision and ROC-AUC of binary tasks with missing labels.
"""

from widebasin.statistics.design import BASELINE, Design
from widebasin.statistics.metric import (
    ACCURACY,
    LOSS,
    MEAN_AVERAGE_PRECISION,
    MEAN_RETURN,
    RETURN,
    ROC_AUC,
    Metric,
    recorded,
)

__all__ = [
    "ACCURACY",
    "BASELINE",
    "LOSS",
    "MEAN_AVERAGE_PRECISION",
    "MEAN_RETURN",
    "RETURN",
    "ROC_AUC",
    "Design",
    "Metric",
    "recorded",
]
