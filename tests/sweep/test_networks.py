"""Kept networks with a state, of another precision, pruned or centered: they load as they were trained."""

import equinox as eqx
import jax
import numpy as np
import pytest

from widebasin import curvature
from widebasin.data import key_for
from widebasin.sweep import Execution, Spec, UsageError
from widebasin.sweep.networks import load_network, stored_networks
from widebasin.sweep.run import run
from widebasin.training import computing_in

KEPT = Execution(keep_parameters=True)


def outputs_and_targets(network, model=None):
    """What the loaded model, or another one, says about the network's test examples, and what is right."""
    dataset = network.problem.dataset
    positions = np.asarray(network.examples.test)
    inputs = dataset.prepared(jax.numpy.asarray(dataset.inputs[positions]))
    return np.asarray(jax.vmap(model or network.model)(inputs)), dataset.targets[positions]


@pytest.mark.slow
def test_a_network_with_batch_normalization_loads_with_its_statistics(tmp_path):
    spec = Spec(workload="digits-resnet", widths=(2,), methods=("sgd",), seeds=1, epochs=2)
    folder = run(spec, tmp_path / "r", execution=KEPT)
    (row,) = folder.results().itertuples()
    network = load_network(folder.path)
    outputs, labels = outputs_and_targets(network)
    assert np.mean(outputs.argmax(1) == labels) == pytest.approx(row.test_accuracy, abs=1e-7)
    assert row.test_accuracy > 0.2  # ten classes

    floating = jax.tree.leaves(eqx.filter(network.model, eqx.is_inexact_array))
    assert sum(leaf.size for leaf in floating) == row.num_params

    def loss(model, batch):
        inputs, labels = batch
        return -jax.numpy.mean(jax.nn.log_softmax(jax.vmap(model)(inputs))[:, 0] * (labels == 0))

    images = jax.numpy.zeros((2, 8, 8, 1))
    assert curvature.hessian(loss, network.model, (images, jax.numpy.arange(2))).size == row.num_params

    # Before training the statistics are those that it starts with.
    initial = network.initial_model()
    model, state = eqx.nn.make_with_state(network.problem.build)(key_for(jax.random.key(0), "initialization"))
    expected, _ = eqx.nn.inference_mode(model)(images[0], state)
    np.testing.assert_allclose(initial(images[0]), expected, rtol=1e-5)


SPARSE = Spec(
    widths=(3,),
    methods=("sam",),
    rhos=(0.1,),
    seeds=2,
    epochs=2,
    sparsity=(0.0, 0.5, 0.9),
    pruners=("random", "snip"),
    output_scale=(1.0, 1e3),
    label_noise=(0.0,),
    precision="float64",
    train_examples=200,
)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    return run(SPARSE, tmp_path_factory.mktemp("sparse") / "r", execution=KEPT)


@pytest.mark.slow
def test_results_say_sparsity_pruner_and_scale_of_every_network(sparse):
    results = sparse.results()
    assert len(results) == 5 * 2 * 2
    assert not results.duplicated(["method", "sparsity", "pruner", "output_scale", "seed"]).any()
    counts = results.groupby(["sparsity", "pruner"])["num_params"].unique().explode().to_dict()
    kernels = (64 * 9, 9 * 3, 3 * 10)
    everything = sum(kernels) + 9 + 3 + 10
    assert counts == {
        (0.0, "none"): everything,
        (0.5, "random"): everything - sum(round(0.5 * size) for size in kernels),
        (0.5, "snip"): everything - round(0.5 * sum(kernels)),
        (0.9, "random"): everything - sum(round(0.9 * size) for size in kernels),
        (0.9, "snip"): everything - round(0.9 * sum(kernels)),
    }
    assert set(sparse.history().columns) >= {"sparsity", "pruner", "output_scale"}


@pytest.mark.slow
def test_a_network_has_as_many_parameters_as_results_say(sparse):
    """A pruned weight is exactly 0 in what is kept, and no other is."""
    for row in sparse.results().query("seed == 1").itertuples():
        network = load_network(
            sparse.path,
            method="sam",
            seed=1,
            sparsity=row.sparsity,
            pruner=row.pruner,
            output_scale=row.output_scale,
        )
        kernels = [np.asarray(weight) for weight in network.model.weights]
        assert sum(np.count_nonzero(kernel) for kernel in kernels) + 9 + 3 + 10 == row.num_params


@pytest.mark.slow
def test_a_network_in_double_precision_loads_in_double_precision(sparse):
    network = load_network(sparse.path, method="sam", seed=0, sparsity=0.9, pruner="snip", output_scale=1e3)
    for model in (network.model, network.initial_model()):
        assert {leaf.dtype.name for leaf in jax.tree.leaves(model)} == {"float64"}
        for leaf in model.weights:
            assert np.any(np.asarray(leaf) != np.asarray(leaf, np.float32))
    # What was tested is alpha (f(w) - f(w0)), from the pruned initialization.
    with computing_in("float64"):
        outputs, labels = outputs_and_targets(network)
        origin = jax.tree.map(
            lambda before, after: before if before.ndim == 1 else before * (after != 0),
            network.initial_model(),
            network.model,
        )
        before, _ = outputs_and_targets(network, origin)
    right = (1e3 * (outputs - before)).argmax(1) == labels
    (row,) = (
        sparse.results()
        .query("method == 'sam' and seed == 0 and sparsity == .9 and pruner == 'snip' and output_scale == 1e3")
        .itertuples()
    )
    assert right.mean() == pytest.approx(row.test_accuracy, abs=1e-7)


@pytest.mark.slow
def test_networks_are_told_apart_by_sparsity_pruner_and_scale(sparse):
    with pytest.raises(UsageError) as error:
        load_network(sparse.path, method="sam", seed=0)
    assert "but 10 match" in str(error.value)
    assert "sparsity 0.0 0.5 0.9; pruner none random snip; output_scale 1.0 1000.0" in str(error.value)
    assert len(stored_networks(sparse.path, pruner="snip")) == 2 * 2 * 2
