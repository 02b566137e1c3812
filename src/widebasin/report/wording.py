"""How a report describes networks: methods by title, settings in words, values with units."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from widebasin.shown import shown
from widebasin.statistics import Design, Metric

HEADINGS = {"num_params": "parameters", "tested_learning_rate": "learning rate judged", "tested_rho": "rho judged"}


@dataclass(frozen=True)
class Wording:
    """The words for the networks of a table.

    Attributes:
        design: setting, metric and baseline of the table.
        titles: method -> its name in text; for the baseline the name of the base optimizer.
        phrases: column of the setting -> format string for its values, with one field; by default the name and the
            value.
        percent: columns of fractions, which are written in percent.
    """

    design: Design
    titles: Mapping[str, str]
    phrases: Mapping[str, str]
    percent: frozenset[str]

    @property
    def metric(self) -> Metric:
        """The main metric."""
        return self.design.metric

    @property
    def baseline(self) -> str:
        """The title of the baseline."""
        return self.method(self.design.baseline)

    def method(self, name: Hashable) -> str:
        """The name of a method in text."""
        return shown(self.titles.get(str(name), str(name)))

    def value(self, column: str, value: Any) -> str:
        """A value of a column of the setting in text: fractions in percent."""
        if column in self.percent:
            return f"{100 * value:.6g}%"
        return f"{value:g}" if isinstance(value, float) else shown(str(value))

    def setting(self, row: Mapping[Any, Any] | pd.Series, columns: Sequence[str]) -> str:
        """The values of the given columns in words, such as ``label noise 20%``; empty without columns."""
        phrases = ((column, self.phrases.get(column, f"{column.replace('_', ' ')} {{}}")) for column in columns)
        return ", ".join(shown(phrase).replace("{}", self.value(column, row[column])) for column, phrase in phrases)

    def settings(self, table: pd.DataFrame) -> list[str]:
        """For every row, what distinguishes its setting in the table, in words; empty if nothing does."""
        columns = self.design.varying(table)
        return [self.setting(row, columns) for row in table.to_dict("records")]

    def network(self, row: Mapping[Any, Any] | pd.Series, columns: Sequence[str]) -> str:
        """A network, or a group that differs only by seed, in words; ``columns`` distinguish settings."""
        radius = "" if row["method"] == self.design.baseline else f", rho {row['rho']:g}"
        setting = self.setting(row, columns)
        return f"width {row['width']}, {self.method(row['method'])}{radius}{', ' + setting if setting else ''}"

    def cells(self, row: Mapping[Any, Any], columns: Sequence[str]) -> tuple[str, ...]:
        """The identity of a group of networks, as cells of a table."""
        return tuple(self._cell(column, row[column]) for column in columns)

    def headings(self, columns: Sequence[str]) -> tuple[str, ...]:
        """The headings of these columns."""
        return tuple(HEADINGS.get(column, shown(column.replace("_", " "))) for column in columns)

    def read_by(self, **phrases: str) -> "Wording":
        """The wording for tables with several readings of the same networks, distinguished by further columns."""
        return replace(self, design=self.design.read_by(*phrases), phrases={**self.phrases, **phrases})

    def _cell(self, column: str, value: Any) -> str:
        if column == "method":
            return self.method(value)
        return f"{value:,}" if column == "num_params" else self.value(column, value)
