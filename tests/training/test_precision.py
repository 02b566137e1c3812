"""Training in other precisions than float32."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from training.tasks import DIGITS, NORMALIZED, leaves, point, program_of, trained

from widebasin import sam
from widebasin.training import SQUARED_CLASSIFICATION, Centered, Checkpoints, Plan, Program, train

ALONE = Plan(1, "scan", "cpu")
ONE = point(rho=0.1, seed=2, label_noise=0.2)


def in_precision(task, precision, **changes):
    return replace(task, recipe=replace(task.recipe, precision=precision), **changes)


def dtypes(tree):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree) if np.issubdtype(np.asarray(leaf).dtype, np.inexact)}


@pytest.mark.slow
def test_half_precision_trains_close_to_single_and_keeps_everything_in_single():
    single, single_metrics = trained(NORMALIZED, "sam", [ONE], ALONE)
    half, half_metrics = trained(in_precision(NORMALIZED, "bfloat16"), "sam", [ONE], ALONE)
    assert dtypes(half.params) == dtypes(half.model) == dtypes(half.optimizer) == {"float32"}
    differences = [np.abs(a - b).max() for a, b in zip(leaves(single), leaves(half), strict=True)]
    assert 1e-4 < max(differences) < 0.1
    for name in ("train_loss", "test_loss", "gradient_norm"):
        assert half_metrics[name].dtype == np.float32
        assert half_metrics[name] == pytest.approx(single_metrics[name], rel=0.05)
        assert half_metrics[name] != single_metrics[name]


class Interrupted(Exception):
    pass


def noisy(key, image):
    return image + 0.3 * jax.random.normal(key, image.shape, image.dtype)


LAZY = Centered(in_precision(DIGITS, "float64", objective=SQUARED_CLASSIFICATION, augment=noisy))
HALF = in_precision(NORMALIZED, "bfloat16", augment=noisy)
PRUNED = [
    ONE.moved(output_scale=scale, sparsity=0.75, pruner=pruner) for scale, pruner in ((1.0, "random"), (1e4, "snip"))
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "group"),
    [(LAZY, PRUNED), (HALF, [ONE, ONE.moved(rho=0.3)])],
    ids=["lazy, pruned, in float64", "normalized, in bfloat16"],
)
def test_training_continued_from_a_checkpoint_is_bit_for_bit_the_uninterrupted_one(task, group, tmp_path):
    def stop(report):
        if report.epoch == 2:
            raise Interrupted

    checkpoints = {"checkpoints": Checkpoints(tmp_path / "c"), "checkpoint_seconds": 0.0}
    plan = Plan(len(group), "scan", "cpu")
    program = program_of(task, "sam", plan)
    whole = train(program, group)
    with pytest.raises(Interrupted):
        train(program, group, on_epoch=stop, **checkpoints)
    resumed = []
    continued = train(program, group, on_epoch=lambda report: resumed.append(report.resumed), **checkpoints)
    assert resumed == [True, False, False, False]
    assert dtypes(whole.params) == {"float64" if task is LAZY else "float32"}
    if task is LAZY:  # and not single-precision numbers in a wide type
        assert all(np.any(leaf != leaf.astype(np.float32)) for leaf in leaves(whole))
    for one, other in ((continued.params, whole.params), (continued.model, whole.model)):
        assert jax.tree.map(lambda leaf: leaf.dtype, one) == jax.tree.map(lambda leaf: leaf.dtype, other)
        jax.tree.map(np.testing.assert_array_equal, one, other)
    jax.tree.map(np.testing.assert_array_equal, continued.history, whole.history)
    jax.tree.map(np.testing.assert_array_equal, continued.final, whole.final)


@pytest.mark.slow
def test_a_checkpoint_of_another_precision_is_refused(tmp_path):
    from widebasin.training import CheckpointError

    train(
        Program(in_precision(DIGITS, "float64"), sam.METHODS["sgd"].with_radius, ALONE),
        [ONE],
        checkpoints=Checkpoints(tmp_path / "c"),
        checkpoint_seconds=0.0,
    )
    with pytest.raises(CheckpointError, match="names, shapes or types"):
        train(program_of(DIGITS, "sgd", ALONE), [ONE], checkpoints=Checkpoints(tmp_path / "c"))
