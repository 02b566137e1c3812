import base64

import numpy as np
import pandas as pd
import pytest
from report.packed import curve, numbers

from widebasin.report.curves import LEAST_EPOCHS, MOST_EPOCHS, packed_curves, thinned, three_bytes


def test_thinned_epochs_are_spread_evenly_between_the_ends():
    assert thinned(5, 80).tolist() == [1, 2, 3, 4, 5]
    assert thinned(1, 80).tolist() == [1]
    epochs = thinned(1000, 80)
    assert (epochs[0], epochs[-1], len(epochs)) == (1, 1000, 80)
    assert set(np.diff(epochs)) <= {12, 13}


def test_three_bytes_keep_four_digits_and_what_is_not_finite():
    values = np.random.default_rng(0).normal(size=2000) * 10.0 ** np.linspace(-37, 37, 2000)
    read = numbers({"values": base64.b64encode(three_bytes(values))})
    np.testing.assert_allclose(read, values, rtol=2.0**-16 * 1.001)
    special = [np.nan, -np.nan, np.inf, -np.inf, 0.0, 1.0, -2.5, 1e300]
    read = numbers({"values": base64.b64encode(three_bytes(np.array(special)))})
    np.testing.assert_array_equal(read, [np.nan, np.nan, np.inf, -np.inf, 0.0, 1.0, -2.5, np.inf])
    # Every NaN, also one whose lowest bits alone are set.
    odd = np.array([0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(numbers({"values": base64.b64encode(three_bytes(odd))})).all()


def history(counts) -> tuple[pd.DataFrame, pd.Series]:
    """Networks of these numbers of epochs, epochs in disorder: loss = network + 1 / epoch, accuracy = epoch."""
    network = np.repeat(np.arange(len(counts)), counts)
    epoch = np.concatenate([np.arange(count, 0, -1) for count in counts])
    table = pd.DataFrame({"epoch": epoch, "loss": network + 1 / epoch, "accuracy": epoch.astype(float)})
    return table, pd.Series(network)


def test_packed_curves_are_read_back_by_network_and_column():
    counts = (3, 200, 3, 7)
    packed = packed_curves(*history(counts), ("loss", "accuracy"), 10**6)
    assert packed["most"] == MOST_EPOCHS
    for network, count in enumerate(counts):
        for column, expected in enumerate((lambda e, n=network: n + 1 / e, lambda e: e)):
            epochs, values = curve(packed, network, column, 2)
            assert epochs == thinned(count, MOST_EPOCHS).tolist()
            np.testing.assert_allclose(values, expected(np.array(epochs)), rtol=2e-5)


@pytest.mark.parametrize(("room", "most"), [(4 * 30 * 2 * 50, 30), (0, LEAST_EPOCHS), (10**9, MOST_EPOCHS)])
def test_packed_curves_keep_to_their_room(room, most):
    packed = packed_curves(*history((100,) * 50), ("loss", "accuracy"), room)
    assert packed["most"] == most
    assert len(packed["values"]) == 4 * most * 2 * 50


def test_no_networks_are_no_curves():
    packed = packed_curves(*history((1,)), ("loss",), 0)
    empty = packed_curves(pd.DataFrame({"epoch": [], "loss": []}), pd.Series([], dtype=int), ("loss",), 0)
    assert len(numbers(packed)) == 1
    assert (empty["counts"], empty["values"]) == ([], "")
