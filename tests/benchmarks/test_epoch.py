"""The contenders of the epoch do the same work: from the same parameters to the same parameters."""

import importlib.util
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.benchmarks.epoch import RECIPE, gradient_flops, optax_sam, program_sam, torch_sam
from widebasin.benchmarks.step import loss_fn
from widebasin.data import epoch_batches, key_for
from widebasin.models import MLP

EXAMPLES, WIDTH, EPOCHS = 128, 8, 2
RECIPE = replace(RECIPE, batch_size=32, learning_rate=0.1)


@pytest.fixture
def ours():
    return program_sam(EXAMPLES, WIDTH, RECIPE)


def batches(ours):
    """The order in which our program is about to take the examples."""
    order = key_for(ours.state.key[0], "batch order")
    return np.asarray(epoch_batches(order, ours.state.epoch[0], EXAMPLES, RECIPE.batch_size))


def train(ours, rival, convert=np.asarray):
    """Both over the same batches; returns the mean losses of the last epoch."""
    losses = (jnp.nan, jnp.nan)
    for _ in range(EPOCHS):
        order = batches(ours)
        losses = (ours.epoch()["train_loss"][0], rival.epoch(convert(order)))
    return losses


def distance(params, start):
    return max(float(jnp.abs(a - b).max()) for a, b in zip(params, start, strict=True))


@pytest.mark.slow
def test_optax_contender_ends_where_our_epoch_ends(ours):
    rival, start = optax_sam(ours), jax.tree.leaves(ours.params)
    mine, its = train(ours, rival)
    params = jax.tree.leaves(ours.params)
    assert distance(params, start) > 0.01
    assert distance(params, jax.tree.leaves(rival.params)) < 1e-4
    assert mine == pytest.approx(float(its), abs=1e-5)


@pytest.mark.slow
def test_torch_contender_ends_where_our_epoch_ends(ours):
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    rival = torch_sam(ours, threads=threads + 1)
    mine, its = train(ours, rival, torch.tensor)
    assert torch.get_num_threads() == threads
    params = ours.params
    layers = [layer for pair in zip(params.weights, params.biases, strict=True) for layer in pair]
    assert distance(layers, [jnp.asarray(p.detach().numpy()) for p in rival.params]) < 1e-4
    assert mine == pytest.approx(its, abs=1e-5)


def test_torch_contender_draws_every_example_once():
    pytest.importorskip("torch")
    rival = torch_sam(program_sam(EXAMPLES, WIDTH, RECIPE), threads=1)
    drawn = rival.shuffled(RECIPE.batch_size)
    assert drawn.shape == (4, 32)
    assert sorted(drawn.flatten().tolist()) == list(range(EXAMPLES))


@pytest.mark.slow
def test_without_torch_its_row_says_so(monkeypatch):
    from widebasin.benchmarks import epoch

    for name, value in {"EXAMPLES": 256, "WIDTH": 2, "MATMUL_SIZE": {}, "MATMUL_SIZE_ELSEWHERE": 8}.items():
        monkeypatch.setattr(epoch, name, value)
    monkeypatch.setattr(epoch, "torch_version", lambda: "")
    rows = {row[0]: row for row in epoch.measure(1).table().rows}
    assert rows["PyTorch"][1] == "torch not installed"
    assert rows["widebasin"][-2:] == ("1.00", "widebasin")


def test_torch_version_is_empty_where_torch_is_not_installed():
    from widebasin.benchmarks.torch_sam import torch_version

    assert bool(torch_version()) == (importlib.util.find_spec("torch") is not None)


def test_flops_are_those_that_the_compiler_counts():
    sizes, batch_size = (784, 300, 100, 10), 128
    model = jax.eval_shape(lambda key: MLP(sizes, key=key), jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((batch_size, 784), jnp.float32)
    labels = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
    counted = jax.jit(jax.grad(loss_fn)).lower(model, inputs, labels).compile().cost_analysis()["flops"]
    # The compiler also counts activations and the loss.
    assert gradient_flops(sizes, batch_size) == pytest.approx(counted, rel=0.02)
