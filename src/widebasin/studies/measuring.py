"""Measuring trained networks: instruments give rows, rows are kept in the results folder, so that nothing is lost."""

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
        name: of the table of its measurements in the results folder.
        settings: columns that tell one way of measuring from another.
        rows: network -> rows without the columns that say which network it is.
        nothing: the row of a network of which nothing can be measured, as it diverged.
        few: whether it is only for the first seed's networks, as many as can be shown one by one.
    """

    name: str
    settings: Mapping[str, Any]
    rows: Callable[[TrainedNetwork], list[Row]]
    nothing: Row
    few: bool = False

    def meant(self, networks: pd.DataFrame) -> pd.DataFrame:
        """Of networks those that it is for."""
        return networks[networks["seed"] == networks["seed"].min()].head(SHOWN) if self.few else networks


def measure(
    folder: ResultsFolder, instrument: Instrument, networks: pd.DataFrame, design: Design, track: Track | None = None
) -> pd.DataFrame:
    """The table of an instrument's measurements of networks, in their order.

    Networks that were measured before, with the same settings, are not measured again; the table is written after
    each network. Measurements of other networks of the folder, and with other settings, stay in it. Where nothing is to
    be measured, neither networks nor data are loaded.

    Args:
        folder: the results folder, which keeps the table.
        instrument: what to measure.
        networks: rows of the folder's results, with their numbers as index.
        design: which columns say which network a row is of.
        track: (numbers of networks, title) -> the same, showing progress; silent by default.

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
    """Whether each of these has rows in a table."""
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
