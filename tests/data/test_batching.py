import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widebasin.data import epoch_batches

KEY = jax.random.key(0)


@pytest.mark.slow
@given(
    seed=st.integers(0, 1000),
    epoch=st.integers(0, 300),
    sizes=st.sampled_from([(12, 4), (15, 4), (7, 1)]),
)
def test_an_epoch_visits_every_example_once_but_the_remainder(seed, epoch, sizes):
    examples, batch_size = sizes
    batches = np.asarray(epoch_batches(jax.random.key(seed), epoch, examples, batch_size))
    assert batches.shape == (examples // batch_size, batch_size)
    assert len(set(batches.ravel().tolist())) == batches.size
    assert set(batches.ravel().tolist()) <= set(range(examples))


def test_without_a_remainder_an_epoch_is_a_permutation():
    assert sorted(np.asarray(epoch_batches(KEY, 3, 128, 32)).ravel().tolist()) == list(range(128))


def test_epochs_differ():
    orders = {tuple(np.asarray(epoch_batches(KEY, epoch, 64, 16)).ravel().tolist()) for epoch in range(20)}
    assert len(orders) == 20


def test_the_remainder_is_another_one_in_every_epoch():
    """With 5 of 13 left out in each of 40 epochs, every example sits out some epochs and takes part in others."""
    seen = np.zeros(13, int)
    for epoch in range(40):
        seen[np.asarray(epoch_batches(KEY, epoch, 13, 8)).ravel()] += 1
    assert seen.sum() == 40 * 8
    assert (seen > 0).all()
    assert (seen < 40).all()


def test_an_epoch_depends_on_the_key_and_its_number_alone():
    """A resumed run meets the batches of the uninterrupted one."""
    in_order = [np.asarray(epoch_batches(KEY, epoch, 64, 16)) for epoch in range(8)]
    np.testing.assert_array_equal(epoch_batches(jax.random.key(0), 7, 64, 16), in_order[7])
    assert not np.array_equal(epoch_batches(jax.random.key(1), 7, 64, 16), in_order[7])


def test_a_traced_epoch_gives_the_same_batches():
    traced = jax.jit(lambda epoch: epoch_batches(KEY, epoch, 64, 16))
    for epoch in (0, 5):
        np.testing.assert_array_equal(traced(epoch), epoch_batches(KEY, epoch, 64, 16))


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [8, 16])
def test_the_order_does_not_depend_on_the_batch_size(batch_size):
    np.testing.assert_array_equal(
        np.asarray(epoch_batches(KEY, 1, 64, batch_size)).ravel(), np.asarray(epoch_batches(KEY, 1, 64, 32)).ravel()
    )
