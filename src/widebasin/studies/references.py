"""What simple models reach on the same data, beside an answer."""

from dataclasses import replace

import numpy as np

from widebasin.report.page import Answer
from widebasin.statistics import RETURN
from widebasin.studies.tables import Tables


def with_references(answer: Answer, tables: Tables) -> Answer:
    """An answer with the metric of simple models on the test part, and how many networks are better than all of them.

    Args:
        answer: of a study.
        tables: of the sweep; without references, the answer stays as it is.
    """
    references = tables.description.references
    if not references:
        return answer
    metric = tables.description.metric
    # In 32 bits, as the metrics of networks are kept: an equal value is no better one.
    best = float(np.float32(max(references.values(), key=lambda value: metric.sign * value)))
    reached = tables.results[tables.design.column("test")].astype(float)
    above = int((metric.sign * (reached - best) > 0).sum())
    listed = ", ".join(f"{name} {metric.scale * value:.1f}{metric.unit}" for name, value in references.items())
    who = "Simple models trained on the whole training set, with true labels,"
    where = "the test set"
    if metric.name == RETURN.name:
        who, where = "Agents that learn nothing", "the test episodes"
    better = f"{'is' if above == 1 else 'are'} better than {'all of them' if len(references) > 1 else 'that'}"
    finding = (
        f"{who} reach this {metric.title} on {where}: {listed}. After the final epoch {above} of "
        f"{len(reached)} networks {better}."
    )
    return replace(answer, findings=(*answer.findings, finding))
