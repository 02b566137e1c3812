import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from together import together

from widebasin import sam


@pytest.fixture(scope="module")
def mesh():
    devices = jax.devices("cpu")
    assert len(devices) >= 2
    return Mesh(np.array(devices[:2]), ("batch",))


def assert_trees_close(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for x, y in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), atol=1e-6)


@pytest.mark.slow
@together("normalize", [True, False])
def test_a_loss_averaged_over_devices_equals_one_device(classification, mesh, normalize):
    """With ``pmean`` in the loss the ascent is that of the whole batch, however many devices hold it."""

    def loss(params, inputs, labels):
        return jax.lax.pmean(classification.loss(params, inputs, labels), "batch")

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("batch"), P("batch")), out_specs=P())
    def on_two_devices(params, inputs, labels):
        return sam.value_and_grad(loss, rho=0.3, normalize=normalize)(params, inputs, labels)

    expected = sam.value_and_grad(classification.loss, rho=0.3, normalize=normalize)(
        classification.params, *classification.batch
    )
    assert_trees_close(on_two_devices(classification.params, *classification.batch), expected)


@pytest.mark.slow
def test_without_an_average_each_device_ascends_on_its_own_part(classification, mesh):
    """Without ``pmean`` SAM is m-sharpness with m = batch / devices: the mean of the parts' SAM gradients."""

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("batch"), P("batch")), out_specs=P())
    def on_two_devices(params, inputs, labels):
        params = jax.lax.pcast(params, "batch", to="varying")
        return jax.lax.pmean(sam.value_and_grad(classification.loss, rho=0.3)(params, inputs, labels), "batch")

    inputs, labels = classification.batch
    alone = jax.jit(sam.value_and_grad(classification.loss, rho=0.3))
    halves = [alone(classification.params, inputs[part], labels[part]) for part in (slice(0, 16), slice(16, 32))]
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *halves)
    assert_trees_close(on_two_devices(classification.params, inputs, labels), expected)


@pytest.mark.slow
def test_a_sharded_batch_under_jit_equals_one_device(classification, mesh):
    params = jax.device_put(classification.params, NamedSharding(mesh, P()))
    batch = jax.device_put(classification.batch, NamedSharding(mesh, P("batch")))
    assert len(batch[0].sharding.device_set) == 2
    function = sam.value_and_grad(classification.loss, rho=0.3)
    assert_trees_close(jax.jit(function)(params, *batch), function(classification.params, *classification.batch))


def test_sharded_parameters_are_perturbed_under_their_joint_norm(mesh):
    """||(3, 4)|| = 5 though each device holds one entry; the gradient keeps the parameters' sharding."""
    sharding = NamedSharding(mesh, P("batch"))
    w = jax.device_put(jnp.array([3.0, 4.0]), sharding)
    _, gradient = jax.jit(sam.value_and_grad(lambda w: 0.5 * jnp.sum(w**2), rho=0.5))(w)
    np.testing.assert_allclose(np.asarray(gradient), [3.3, 4.4], rtol=1e-6)
    assert gradient.sharding.is_equivalent_to(sharding, 1)
