import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training.tasks import DIGITS, point, program_of

from widebasin.training import CheckpointError, Checkpoints, Plan, train
from widebasin.training import program as program_module

GROUP = [point(rho=rho, seed=seed, label_noise=0.2) for rho in (0.05, 0.2) for seed in (0, 1)]


@pytest.fixture(scope="module")
def program():
    return program_of(DIGITS, "sam", Plan(len(GROUP), "scan", "cpu"))


@pytest.fixture(scope="module")
def uninterrupted(program):
    return train(program, GROUP)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    assert list(one.history) == list(other.history)
    jax.tree.map(np.testing.assert_array_equal, one.history, other.history)
    jax.tree.map(np.testing.assert_array_equal, one.final, other.final)
    np.testing.assert_array_equal(one.diverged_epoch, other.diverged_epoch)


class Interrupted(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("stops", [(3,), (1, 1, 2)])
def test_training_continued_from_checkpoints_is_bit_for_bit_the_uninterrupted_one(
    program, uninterrupted, stops, tmp_path
):
    def stop_at(epoch):
        def on_epoch(report):
            if report.epoch == epoch and not report.resumed:
                raise Interrupted

        return on_epoch

    for epoch in stops:
        with pytest.raises(Interrupted):
            train(
                program,
                GROUP,
                checkpoints=Checkpoints(tmp_path / "c"),
                checkpoint_seconds=0.0,
                on_epoch=stop_at(epoch),
            )
    seen = []
    continued = train(
        program,
        GROUP,
        checkpoints=Checkpoints(tmp_path / "c"),
        checkpoint_seconds=0.0,
        on_epoch=lambda report: seen.append((report.epoch, report.resumed)),
    )
    assert_same(continued, uninterrupted)
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4]
    assert [resumed for _, resumed in seen] == [epoch < stops[-1] for epoch, _ in seen]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["looksam", "friendly-sam", "random-ssam"])
def test_the_state_of_a_method_is_part_of_the_checkpoint(method, tmp_path):
    """Continued from the end of an epoch of 6 steps, in the middle of a period of 5."""
    group = GROUP[:2]
    program = program_of(DIGITS, method, Plan(len(group), "scan", "cpu"))
    whole = train(program, group)

    def stop(report):
        if report.epoch == 2:
            raise Interrupted

    checkpoints = {"checkpoints": Checkpoints(tmp_path / "c"), "checkpoint_seconds": 0.0}
    with pytest.raises(Interrupted):
        train(program, group, on_epoch=stop, **checkpoints)
    resumed = []
    continued = train(program, group, on_epoch=lambda report: resumed.append(report.resumed), **checkpoints)
    assert_same(continued, whole)
    assert resumed == [True, False, False, False]


def test_training_twice_gives_the_same_bits(program, uninterrupted):
    assert_same(train(program, GROUP), uninterrupted)


def test_history_has_every_network_and_epoch(uninterrupted):
    assert {values.shape for values in uninterrupted.history.values()} == {(len(GROUP), 4)}
    assert set(uninterrupted.history) == {
        "gradient_norm",
        *(f"{part}_{name}" for part in ("train", "valid", "test") for name in ("loss", "accuracy")),
    }
    assert all(np.isfinite(values).all() for values in uninterrupted.history.values())
    assert (uninterrupted.diverged_epoch == 0).all()
    assert uninterrupted.history["train_loss"][:, -1].mean() < uninterrupted.history["train_loss"][:, 0].mean()


def test_a_diverged_network_is_marked_and_the_others_are_unharmed(program, uninterrupted):
    wild = [GROUP[0], GROUP[1].moved(learning_rate=1e20), *GROUP[2:]]
    trained = train(program, wild)
    assert trained.diverged_epoch.tolist()[1] in (1, 2)
    assert trained.diverged_epoch[[0, 2, 3]].tolist() == [0, 0, 0]
    for name, values in trained.history.items():
        np.testing.assert_array_equal(values[[0, 2, 3]], uninterrupted.history[name][[0, 2, 3]])
        assert np.isnan(values[1, trained.diverged_epoch[1] - 1 :]).all()


def test_training_stops_when_every_network_has_diverged(program):
    seen = []
    trained = train(
        program, [r.moved(learning_rate=1e20) for r in GROUP], on_epoch=lambda report: seen.append(report.epoch)
    )
    assert (trained.diverged_epoch > 0).all()
    assert max(seen) == trained.diverged_epoch.max() + 1 < 4
    assert np.isnan(trained.history["valid_loss"][:, -1]).all()


def test_divergence_is_remembered_by_checkpoints(program, tmp_path):
    wild = [GROUP[0], GROUP[1].moved(learning_rate=1e20), *GROUP[2:]]
    whole = train(program, wild)

    def stop(report):
        if report.epoch == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(program, wild, checkpoints=Checkpoints(tmp_path / "c"), checkpoint_seconds=0.0, on_epoch=stop)
    continued = train(program, wild, checkpoints=Checkpoints(tmp_path / "c"), checkpoint_seconds=0.0)
    assert_same(continued, whole)
    with pytest.raises(CheckpointError, match="of other points or with another recipe"):
        train(program, GROUP, checkpoints=Checkpoints(tmp_path / "c"))
    turned = [dataclasses.replace(point, axes=point.axes[::-1]) for point in wild]
    assert_same(train(program, turned, checkpoints=Checkpoints(tmp_path / "c")), whole)


@pytest.mark.slow
def test_the_mask_that_was_trained_with_is_part_of_the_checkpoint(tmp_path, monkeypatch):
    """Another machine's gradient may put other weights just above SNIP's threshold."""
    group = [GROUP[0].moved(sparsity=0.5, pruner="snip")]
    program = program_of(DIGITS, "sgd", Plan(1, "scan", "cpu"))
    checkpoints = {"checkpoints": Checkpoints(tmp_path / "c"), "checkpoint_seconds": 0.0}
    uninterrupted = train(program, group)

    def stop(report):
        if report.epoch == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(program, group, on_epoch=stop, **checkpoints)
    genuine = program_module.masks_of
    monkeypatch.setattr(
        program_module, "masks_of", lambda *arguments: jax.tree.map(jnp.logical_not, genuine(*arguments))
    )
    continued = train(program, group, **checkpoints)
    jax.tree.map(np.testing.assert_array_equal, continued.params, uninterrupted.params)
