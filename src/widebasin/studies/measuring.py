"""Measuring trained networks: instruments give rows, rows are kept in the results folder, so that nothing is lost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from widebasin.curvature import NotFiniteError
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.networks import StoredNetwork, TrainedNetwork
from widebasin.sweep.rows import identity_rows
from widebasin.training import computing_in

Row = dict[str, Any]


@dataclass(frozen=True)
class Instrument:
    """A way to measure a trained network.

    Attributes:
        name: of the table of its measurements in the results folder.
        settings: columns that tell one way of measuring from another.
        rows: network -> rows without the columns that say which network it is.
        nothing: the row of a network of which nothing can be measured, as it diverged.
    """

    name: str
    settings: Mapping[str, Any]
    rows: Callable[[TrainedNetwork], list[Row]]
    nothing: Row


def measure(
    folder: ResultsFolder,
    instrument: Instrument,
    networks: Sequence[StoredNetwork],
    track: Callable[[Sequence[StoredNetwork], str], Iterator[StoredNetwork]] | None = None,
) -> pd.DataFrame:
    """The table of an instrument's measurements of networks, in their order.

    Networks that were measured before, with the same settings, are not measured again; the table is written after
    each network. Measurements of other networks of the folder, and with other settings, stay in it.

    Args:
        folder: the results folder, which keeps the table.
        instrument: what to measure.
        networks: from ``sweep.networks.stored_networks``.
        track: (networks, title) -> the same networks, showing progress; silent by default.

    Raises:
        SweepError: if parameters were not kept, or a table is damaged.
    """
    known = folder.measurements(instrument.name)
    identities = [_identity(network, instrument.settings) for network in networks]
    found = [None if known is None else _rows_of(known, identity) for identity in identities]
    missing = [network for network, rows in zip(networks, found, strict=True) if rows is None]
    for network in track(missing, f"measuring {instrument.name}") if track and missing else missing:
        rows = pd.DataFrame(_rows_or_nothing(instrument, network.load()))
        table = _identity(network, instrument.settings).merge(rows, how="cross")
        known = table if known is None else pd.concat([known, table], ignore_index=True)
        folder.write_measurements(instrument.name, known)
    assert known is not None
    tables = [_rows_of(known, identity) for identity in identities]
    return pd.concat([table for table in tables if table is not None], ignore_index=True)


def _rows_or_nothing(instrument: Instrument, network: TrainedNetwork) -> list[Row]:
    try:
        with computing_in(network.cell.recipe.precision):
            return instrument.rows(network)
    except NotFiniteError:
        return [instrument.nothing]


def _identity(network: StoredNetwork, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Which network, measured in which way: what rows belong together by."""
    return identity_rows(network.cell, [network.point]).assign(**settings)


def _rows_of(table: pd.DataFrame, identity: pd.DataFrame) -> pd.DataFrame | None:
    columns = list(identity.columns)
    rows = table[(table[columns] == identity.iloc[0]).all(axis=1)]
    return rows if len(rows) else None
