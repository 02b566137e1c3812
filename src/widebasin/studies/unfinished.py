"""Finds what an unfinished sweep can answer: the largest part of its grid with all networks trained."""

import dataclasses
import itertools
from collections.abc import Iterator

import pandas as pd

from widebasin.studies.questions.networks import STUDY as NETWORKS
from widebasin.studies.study import Study
from widebasin.sweep import Resolved, UsageError
from widebasin.sweep.rows import rows_of_spec


def finished_part(
    spec: Resolved, study: Study, results: pd.DataFrame, *, measurable: bool
) -> tuple[Study, Resolved, pd.DataFrame]:
    """The study, spec and results of an answer from the networks that are trained so far.

    The answer covers a smaller grid that is completely trained: it has fewer values of one axis, chosen to keep the
    most networks. If there is none, or it does not fit the study, the answer lists what the networks reached.

    Args:
        spec: the spec of the whole sweep.
        study: the study to answer.
        results: results of the finished networks, indexed by their rows in ``rows_of_spec``.
        measurable: whether networks of this study may be measured.
    """
    if measurable or not study.measures:
        wanted = rows_of_spec(spec)
        axes = [axis.name for axis in spec.axes]
        for part in sorted(_smaller(spec, wanted.loc[results.index], wanted), key=_size, reverse=True):
            rows = results.reset_index(names="row").merge(rows_of_spec(part)[axes], on=axes)
            if len(rows) == _size(part) and _suits(study, part):
                return study, part, rows.set_index("row").rename_axis(None)
    return NETWORKS, spec, results


def _smaller(spec: Resolved, trained: pd.DataFrame, wanted: pd.DataFrame) -> Iterator[Resolved]:
    """Specs restricted to the values of one axis for which every network is trained."""
    for axis in spec.axes:
        if axis in spec.tuned:  # the values that the baseline tries depend on all
            continue
        have, need = (table[axis.name].value_counts() for table in (trained, wanted))
        values = [value for value in spec.values(axis) if have.get(value, 0) == need[value]] if len(need) > 1 else []
        if axis.name == "rho":  # that of the baseline is no value of the axis
            values = [value for value in spec.rhos if have.get(value, 0) == need.get(value, -1)]
        if values and axis.counted:
            for _, run in itertools.groupby(enumerate(values), lambda placed: placed[1] - placed[0]):
                together = [value for _, value in run]
                yield dataclasses.replace(spec, **{axis.flag: len(together), f"first_{axis.name}": together[0]})
        elif values:
            yield dataclasses.replace(spec, **{axis.flag: tuple(values)})


def _size(spec: Resolved) -> int:
    return len(rows_of_spec(spec))


def _suits(study: Study, spec: Resolved) -> bool:
    try:
        study.check_grid(spec)
    except UsageError:
        return False
    return True
