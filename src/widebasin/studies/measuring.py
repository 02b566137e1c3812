"""Measures trained networks: instruments return rows, which are kept in the results folder so that nothing is lost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from widebasin.curvature import NotFiniteError
from widebasin.statistics import Design
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.networks import TrainedNetwork, stored_networks
from widebasin.training import computing_in

Row = dict[str, Any]
Track = Callable[[Sequence[Any], str], Iterator[Any]]
"""(items, title) -> the same items, showing progress."""

# Networks whose spectrum, landscape and layers are shown; more would not be read.
SHOWN = 6


@dataclass(frozen=True)
class Instrument:
    """A way to measure a trained network.

    Attributes:
        name: name of the table of its measurements in the results folder.
        settings: columns with the settings of the measurement.
        rows: network -> rows without the columns that identify the network.
        nothing: the row of a network that cannot be measured because it diverged.
        few: whether it measures only networks of the first seed, and only as many as can be shown one by one.
    """

    name: str
    settings: Mapping[str, Any]
    rows: Callable[[TrainedNetwork], list[Row]]
    nothing: Row
    few: bool = False

    def meant(self, networks: pd.DataFrame) -> pd.DataFrame:
        """The networks that it measures."""
        return networks[networks["seed"] == networks["seed"].min()].head(SHOWN) if self.few else networks


def measure(
    folder: ResultsFolder, instrument: Instrument, networks: pd.DataFrame, design: Design, track: Track | None = None
) -> pd.DataFrame:
    """Measures networks with an instrument and returns the table, in the order of the networks.

    Networks already measured with the same settings are not measured again; the table is written after each network.
    Measurements of other networks in the folder, or with other settings, stay in it. If there is nothing to measure,
    neither networks nor data are loaded.

    Args:
        folder: the results folder, which keeps the table.
        instrument: what to measure.
        networks: rows of the folder's results, with their numbers as index.
        design: which columns identify the network of a row.
        track: (numbers of networks, title) -> the same numbers, showing progress; silent by default.

    Raises:
        SweepError: if parameters were not kept, or a table is damaged.
    """
    networks = instrument.meant(networks)
    identities = networks[[*design.identity]].assign(**instrument.settings)
    known = folder.measurements(instrument.name)
    missing = list(networks.index[~_measured(identities, known)])
    stored = {one.number: one for one in stored_networks(folder.path)} if missing else {}
    for number in track(missing, f"measuring {instrument.name}") if track and missing else missing:
        rows = pd.DataFrame(_rows_or_nothing(instrument, stored[number].load()))
        table = identities.loc[[number]].merge(rows, how="cross")
        known = table if known is None else pd.concat([known, table], ignore_index=True)
        folder.write_measurements(instrument.name, known)
    assert known is not None
    return identities.merge(known, on=list(identities.columns))


def _measured(identities: pd.DataFrame, known: pd.DataFrame | None) -> pd.Series:
    """Whether each network has rows in a table."""
    if known is None or not set(identities.columns) <= set(known.columns):
        return pd.Series(False, identities.index)
    there = known[list(identities.columns)].drop_duplicates()
    found = identities.merge(there, how="left", indicator=True)["_merge"] == "both"
    return pd.Series(found.to_numpy(), identities.index)


def _rows_or_nothing(instrument: Instrument, network: TrainedNetwork) -> list[Row]:
    try:
        with computing_in(network.cell.recipe.precision):
            return instrument.rows(network)
    except NotFiniteError:
        return [instrument.nothing]
