"""Interactive pages of made-up sweeps."""

import json
import re

from report.results_tables import ACCURACY, history_table, wording_for

from widebasin.report.explorer import Explored, explored_data
from widebasin.statistics import Metric
from widebasin.statistics.readings import metrics_in, readings


def explored(results, metric: Metric | str = ACCURACY, *, epochs: int = 3, titles=(), **changes) -> Explored:
    wording = wording_for(metric, **dict(titles))
    metrics = metrics_in(results, (wording.metric,))
    fields = {
        "title": "A made-up sweep",
        "setting": "Data: made-up data.",
        "results": results,
        "history": history_table(results, epochs),
        "wording": wording,
        "metrics": metrics,
    }
    if "readings" not in changes:
        fields["readings"] = readings(results, wording.design, metrics)
    return Explored(**(fields | changes))


def data_of(results, *args, **options) -> dict:
    return explored_data(explored(results, *args, **options))


def embedded(page: str) -> dict:
    """The data in a page."""
    (text,) = re.findall('<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)
