"""Training on images that are read from the disk as they are needed."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from widebasin.data import ImageReader, key_for
from widebasin.sam import Method
from widebasin.training.plan import Plan
from widebasin.training.preparation import Examples
from widebasin.training.program import Hyperparameters, Program, TrainingState, blocks_of, means_of
from widebasin.training.task import Task


class StreamedProgram(Program):
    """As ``Program``, one replicate at a time and step by step: worker processes decode the batches to come.

    Crops and flips of an image depend on the seed, the epoch and its place in the training set alone, so that networks
    of one seed see the same, and a run goes on from any epoch. ``plan.workers`` does not change them.
    """

    def __init__(self, task: Task, method: Callable[[Any], Method], plan: Plan) -> None:
        super().__init__(task, method, plan)
        if plan.networks_at_once > 1 or plan.loop != "step":
            raise ValueError(f"streamed images train one network at a time, step by step; the plan is {plan}")
        files = task.dataset.files
        if files is None:
            raise ValueError(f"{task.dataset.name} has no image files to stream")
        self._reader = functools.partial(
            ImageReader,
            files,
            workers=plan.workers,
            prefetch=plan.workers + 2,
            size=task.dataset.image_size,
        )
        self._updates = {
            kind: jax.jit(self._lift(functools.partial(self._update_one, kind=kind), shared=1), donate_argnums=0)
            for kind in (0, 1)
        }
        self._sums_of_images = jax.jit(self._lift(self._sums_one, shared=1))
        self._seeds = jax.jit(self._lift(self._seeds_one))

    def _seeds_one(self, state: TrainingState) -> Array:
        """For every training example, the seed of its crop and flip in this epoch."""
        key = jax.random.fold_in(key_for(state.key, "augmentation"), state.epoch)
        return jax.random.bits(key, (self.task.sizes.train,), jnp.uint32)

    def _inputs_at(self, indices: np.ndarray) -> Array:
        with self._reader(workers=0) as reader:
            return jnp.asarray(np.stack(list(reader.batches(self.task.dataset.inputs[indices]))))

    def _dispatch_epoch(
        self, state: TrainingState, examples: Examples, hyperparameters: Hyperparameters, last: bool, first: int
    ) -> tuple[TrainingState, dict[str, np.ndarray]]:
        numbers = self.task.dataset.inputs[np.asarray(examples.train[0])]
        targets = np.asarray(examples.train_targets[0])
        batches, seeds = np.asarray(self._batches(state))[0], np.asarray(self._seeds(state))[0]
        period = self.method(0.0).period
        steps = []
        with self._reader() as reader:
            for step, images in enumerate(reader.batches(numbers[batches], seeds[batches])):
                update = self._updates[min(1, (first + step) % period)]
                batch = (images[None], targets[batches[step]][None])
                state, means = update(state, hyperparameters, *batch, first + step)
                steps.append(means)
            evaluate = functools.partial(self._evaluate_images, reader, state, hyperparameters)
            metrics = means_of(steps) | self._evaluations(evaluate, state, examples, last)
        return state._replace(epoch=state.epoch + 1), metrics

    def _evaluate_images(
        self,
        reader: ImageReader,
        state: TrainingState,
        hyperparameters: Hyperparameters,
        indices: np.ndarray,
        targets: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Means over the examples at ``indices``, in batches as large as those of training."""
        blocks = blocks_of(indices.shape[1], self.task.recipe.batch_size)
        numbers = self.task.dataset.inputs[indices[0]]
        images = reader.batches(numbers[blocks.positions])
        sums = [
            self._sums_of_images(state, hyperparameters, one[None], targets[:, block], counted)
            for one, block, counted in zip(images, blocks.positions, blocks.counted, strict=True)
        ]
        return {name: np.sum([one[name] for one in sums], axis=0) / indices.shape[1] for name in sums[0]}


def program_for(task: Task, method: Callable[[Any], Method], plan: Plan) -> Program:
    """The program of a task: with its data on the device, or streamed from the disk."""
    return (Program if task.dataset.files is None else StreamedProgram)(task, method, plan)
