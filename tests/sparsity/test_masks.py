import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from widebasin import sam
from widebasin.sparsity import apply_mask, pruned_per_layer, random_mask, remaining, snip_mask
from widebasin.sparsity._lowest import checked_counts

KEY = jax.random.key(0)


def test_pruned_entries_are_zero_whatever_stood_there():
    params = {"kernel": jnp.array([[1.0, jnp.nan], [-jnp.inf, -2.0]]), "bias": jnp.array([3.0])}
    mask = {"kernel": jnp.array([[True, False], [False, True]]), "bias": True}
    masked = apply_mask(params, mask)
    assert masked["kernel"].tolist() == [[1.0, 0.0], [0.0, -2.0]]
    assert not np.signbit(masked["kernel"][1, 0])
    assert masked["bias"].tolist() == [3.0]


def test_the_gradient_is_exactly_zero_where_a_weight_is_pruned():
    """Also where the derivative at 0 is infinite."""
    mask = [jnp.array([[True, False]])]
    gradient = jax.grad(lambda params: jnp.sum(jnp.sqrt(jnp.abs(apply_mask(params, mask)[0]) + 0.0)))(
        [jnp.array([[4.0, 9.0]])]
    )
    assert gradient[0].tolist() == [[0.25, 0.0]]


def test_types_and_leaves_that_are_no_weights_stay():
    params = {"half": jnp.ones((2, 2), jnp.bfloat16), "steps": jnp.arange(3), "activation": jax.nn.relu}
    mask = random_mask(jax.random.key(0), params, pruned_per_layer(params, 0.5))
    masked = apply_mask(params, mask)
    assert masked["half"].dtype == jnp.bfloat16
    assert masked["activation"] is jax.nn.relu
    assert masked["steps"] is params["steps"]
    assert int(remaining(params, mask)) == 2


def test_remaining_counts_what_a_stack_of_masks_leaves():
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3), "empty": jnp.ones((0, 4))}
    masks = jax.vmap(lambda count: random_mask(jax.random.key(0), params, jnp.stack([0, count])))(jnp.array([0, 2, 6]))
    assert masks["bias"].shape == (3,)
    assert jax.vmap(remaining, in_axes=(None, 0))(params, masks).tolist() == [9, 7, 3]


def descent_with(method, params, loss):
    """20 steps with heavy-ball momentum and weight decay; the parameters after each."""
    optimizer = optax.chain(optax.add_decayed_weights(0.05), optax.sgd(0.05, momentum=0.9))
    inputs = jax.random.normal(jax.random.key(1), (8, 3))
    targets = jnp.sin(3 * inputs[:, :1])

    def step(carry, i):
        params, state, optimizer_state = carry
        key = jax.random.fold_in(jax.random.key(2), i)
        _, gradients, state = method.value_and_grad(loss)(params, state, inputs, targets, key=key)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        params = optax.apply_updates(params, updates)
        return (params, state, optimizer_state), params

    start = (params, method.init(params), optimizer.init(params))
    return jax.jit(lambda start: jax.lax.scan(step, start, jnp.arange(20)))(start)[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", sam.METHODS)
def test_a_pruned_weight_stays_exactly_zero_in_training(name):
    """Ascent, momentum and weight decay of every method leave it alone; without the mask in the loss it moves."""
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "in": jax.random.normal(keys[0], (3, 6)),
        "bias": jnp.zeros(6),
        "out": jax.random.normal(keys[1], (6, 1)),
    }
    mask = random_mask(jax.random.key(4), params, pruned_per_layer(params, 0.5))
    params = apply_mask(params, mask)

    def loss(params, inputs, targets):
        hidden = jnp.tanh(inputs @ params["in"] + params["bias"][None])
        return jnp.mean((hidden @ params["out"] - targets) ** 2)

    def masked_loss(params, inputs, targets):
        return loss(apply_mask(params, mask), inputs, targets)

    path = descent_with(sam.METHODS[name].with_radius(0.1), params, masked_loss)
    for leaf in ("in", "out"):
        stays = np.broadcast_to(mask[leaf], path[leaf].shape)
        values = np.asarray(path[leaf])
        assert np.isfinite(values).all()
        assert (values[~stays] == 0).all()
        assert (values[-1] != np.asarray(params[leaf]))[stays[-1]].all()
    if name == "sam":
        unmasked = descent_with(sam.METHODS[name].with_radius(0.1), params, loss)
        assert (np.asarray(unmasked["in"])[-1][~np.asarray(mask["in"])] != 0).all()


def test_a_sparsity_in_place_of_a_count_is_refused():
    with pytest.raises(TypeError, match="pruned must be whole numbers of weights"):
        checked_counts(jnp.array([0.9, 0.9]), [100, 50])


@pytest.mark.parametrize("pruned", [151, -1, (90, 51), (-5, 3)])
def test_more_weights_than_there_are_and_fewer_than_none_are_refused(pruned):
    params = {"a": jnp.ones((10, 10)), "b": jnp.ones((10, 5))}
    with pytest.raises(ValueError, match="pruned must be between 0 and the number of weights"):
        snip_mask(params, params, pruned) if isinstance(pruned, int) else random_mask(KEY, params, pruned)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"mask must fit params, got shape \(2, 3\) for a leaf of shape \(3,\)"):
        apply_mask(jnp.ones(3), jnp.ones((2, 3), bool))
