"""The same training by ``optax.contrib.sam``: one jitted step, dispatched from the host."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from widebasin.training import CLASSIFICATION, Recipe


class OptaxSAM:
    """A training loop around ``optax.contrib.sam`` as in its documentation, in the mode with one call per step.

    Data are on the device and each step gathers its batch there; state is donated.

    Args:
        model: the initial model; maps one example to logits.
        inputs: training inputs.
        labels: training labels.
        recipe: a recipe with a constant learning rate.
        rho: the radius.
    """

    def __init__(
        self,
        model: PyTree,
        inputs: Float[Array, "examples ..."],
        labels: Int[Array, " examples"],
        recipe: Recipe,
        rho: float,
    ) -> None:
        params, static = eqx.partition(model, eqx.is_inexact_array)
        self.params = jax.tree.map(jnp.copy, params)
        self.inputs, self.labels = inputs, labels
        optimizer = optax.contrib.sam(
            optax.chain(
                optax.add_decayed_weights(recipe.weight_decay), optax.sgd(recipe.learning_rate, recipe.momentum)
            ),
            optax.chain(optax.contrib.normalize(), optax.sgd(rho)),
            sync_period=2,
            opaque_mode=True,
        )
        self.state = optimizer.init(self.params)

        def step(
            params: PyTree, state: PyTree, indices: Array, inputs: Array, labels: Array
        ) -> tuple[PyTree, PyTree, Array]:
            def loss_fn(params: PyTree) -> Array:
                logits = jax.vmap(eqx.combine(params, static))(inputs[indices])
                return jnp.mean(jax.vmap(CLASSIFICATION.loss)(logits, labels[indices]))

            loss, gradients = jax.value_and_grad(loss_fn)(params)
            updates, state = optimizer.update(gradients, state, params, grad_fn=lambda p, _: jax.grad(loss_fn)(p))
            return optax.apply_updates(params, updates), state, loss

        self._step = jax.jit(step, donate_argnums=(0, 1))

    def epoch(self, batches: Any) -> Array:
        """One step per row of ``batches``, positions in the training data; returns the clean passes' mean loss."""
        losses = []
        for indices in batches:
            self.params, self.state, loss = self._step(self.params, self.state, indices, self.inputs, self.labels)
            losses.append(loss)
        return jnp.stack(losses).mean()
