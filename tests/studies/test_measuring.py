"""Measurements of trained networks: kept, continued, made anew with other settings; damaged tables are named."""

import shutil

import jax
import numpy as np
import pandas as pd
import pytest
from studies.described import description

from widebasin.curvature import NotFiniteError
from widebasin.studies.measuring import SHOWN, Instrument, measure
from widebasin.studies.tables import design_of
from widebasin.sweep import Execution, Spec, SweepError, UsageError
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.networks import stored_networks
from widebasin.sweep.run import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Four small networks with their parameters."""
    spec = Spec(workload="line-mlp", widths=(2, 3), methods=("sgd",), seeds=2, epochs=1)
    return run(spec, tmp_path_factory.mktemp("trained") / "sweep", execution=Execution(keep_parameters=True))


@pytest.fixture
def folder(trained, tmp_path):
    """The same, for one test alone."""
    return ResultsFolder(shutil.copytree(trained.path, tmp_path / "sweep"))


def measured(folder, instrument, chosen=slice(None), track=None):
    """Of all networks, or some."""
    return measure(folder, instrument, folder.results()[chosen], design_of(description()), track)


class Counting:
    """An instrument that counts the networks it is used on: two rows each, the width times a factor."""

    def __init__(self, factor=1.0):
        self.used = []
        self.instrument = Instrument("counting", {"factor": factor}, self.rows, {"place": -1, "value": float("nan")})

    def rows(self, network):
        self.used.append((network.cell.width, network.point.seed))
        factor = self.instrument.settings["factor"]
        return [{"place": place, "value": factor * network.cell.width + place} for place in (0, 1)]


def test_every_network_has_its_rows_in_the_order_of_the_networks(folder):
    table = measured(folder, Counting().instrument)
    assert table[["width", "seed", "place", "value"]].to_numpy().tolist() == [
        [w, s, p, w + p] for w in (2, 3) for s in (0, 1) for p in (0, 1)
    ]
    assert (table["method"] == "sgd").all()


def test_what_was_measured_is_not_measured_again(folder):
    once, again = Counting(), Counting()
    first = measured(folder, once.instrument, slice(3))
    second = measured(folder, again.instrument)
    assert (once.used, again.used) == ([(2, 0), (2, 1), (3, 0)], [(3, 1)])
    pd.testing.assert_frame_equal(second.iloc[:6], first)


def test_where_all_is_measured_no_network_is_loaded(folder, monkeypatch):
    first = measured(folder, Counting().instrument)
    monkeypatch.setattr("widebasin.studies.measuring.stored_networks", None)
    pd.testing.assert_frame_equal(measured(folder, Counting().instrument), first)


def test_an_instrument_for_a_few_takes_the_first_seeds_networks_as_many_as_can_be_shown():
    results = pd.DataFrame({"width": range(20), "seed": [1, 2] * 10})
    instrument = Instrument("few", {}, lambda network: [], {}, few=True)
    assert instrument.meant(results)["width"].tolist() == [2 * k for k in range(SHOWN)]


def test_measuring_some_keeps_the_measurements_of_the_others(folder):
    measured(folder, Counting().instrument)
    assert len(measured(folder, Counting().instrument, slice(2, None))) == 4
    again = Counting()
    measured(folder, again.instrument)
    assert again.used == []


def test_an_interruption_loses_no_network_that_was_measured(folder):
    def interrupted(networks, title):
        assert title == "measuring counting"
        yield from networks[:2]
        raise KeyboardInterrupt

    first, second = Counting(), Counting()
    with pytest.raises(KeyboardInterrupt):
        measured(folder, first.instrument, track=interrupted)
    measured(folder, second.instrument)
    assert (len(first.used), len(second.used)) == (2, 2)


def test_other_settings_are_measured_anew(folder):
    measured(folder, Counting(1.0).instrument)
    other = Counting(2.0)
    table = measured(folder, other.instrument)
    assert len(other.used) == 4
    assert table.loc[table["place"] == 0, "value"].tolist() == [4, 4, 6, 6]
    # What was measured in the first way is still there.
    again = Counting(1.0)
    assert measured(folder, again.instrument)["value"].max() == 4
    assert again.used == []


def test_a_network_that_diverged_has_the_row_of_nothing(folder):
    class Diverged(Counting):
        def rows(self, network):
            if network.cell.width == 2:
                raise NotFiniteError("params has entries that are not finite")
            return super().rows(network)

    table = measured(folder, Diverged().instrument)
    assert table["place"].tolist() == [-1, -1, 0, 1, 0, 1]
    assert table["value"].isna().tolist() == [True, True, False, False, False, False]


def test_a_damaged_table_is_named_with_the_remedy(folder):
    measured(folder, Counting().instrument)
    path = folder.path / "measurements" / "counting.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SweepError, match=r"counting\.parquet is corrupt or truncated .*delete it"):
        measured(folder, Counting().instrument)


def test_without_parameters_there_is_nothing_to_measure(tmp_path):
    spec = Spec(workload="line-mlp", widths=(2,), methods=("sgd",), seeds=1, epochs=1)
    bare = run(spec, tmp_path / "bare")
    with pytest.raises(SweepError, match="--keep-parameters"):
        measured(bare, Counting().instrument)


def test_overwriting_a_sweep_deletes_its_measurements(folder):
    measured(folder, Counting().instrument)
    other = Spec(workload="line-mlp", widths=(2,), methods=("sgd",), seeds=1, epochs=2)
    run(other, folder.path, execution=Execution(keep_parameters=True), overwrite=True)
    assert folder.measurements("counting") is None


def test_networks_are_named_by_what_tells_them_apart(folder):
    (one,) = stored_networks(folder.path, width=3, seed=1)
    assert (one.cell.width, one.point.seed) == (3, 1)
    assert all(np.isfinite(leaf).all() for leaf in one.load().model.weights)
    with pytest.raises(UsageError, match="matches no network"):
        stored_networks(folder.path, width=7)


def test_networks_load_as_they_were_trained_in_double_precision_too(folder):
    (one,) = stored_networks(folder.path, width=3, seed=1)
    expected = one.load()
    with jax.enable_x64(True):
        found = one.load()
    for left, right in zip(jax.tree.leaves(found.model), jax.tree.leaves(expected.model), strict=True):
        assert left.dtype == np.float32
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(found.examples.train, expected.examples.train)


def test_of_a_sweep_that_is_not_finished_the_trained_networks_are_measured(folder):
    whole = measured(folder, Counting().instrument)
    expected = stored_networks(folder.path, width=3, seed=1)[0].load()
    (folder.path / "results.parquet").unlink()
    shutil.rmtree(folder.path / "measurements")
    for path in (folder.path / "cells" / "line-mlp-width-2-sgd").glob("*.parquet"):
        path.unlink()
    found = measure(folder, Counting().instrument, folder.finished_results(folder.spec()), design_of(description()))
    pd.testing.assert_frame_equal(found, whole.query("width == 3").reset_index(drop=True))
    (one,) = stored_networks(folder.path, seed=1)
    for left, right in zip(jax.tree.leaves(one.load().model), jax.tree.leaves(expected.model), strict=True):
        np.testing.assert_array_equal(left, right)
    with pytest.raises(UsageError, match=r"There are width 3;"):
        stored_networks(folder.path, width=2)
