"""What a user may add, each kind in one file outside the package: here, and ``spread.py`` for a study."""

import dataclasses
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics
from extending.spread import STUDY

from widebasin import sam
from widebasin.axis import Axis
from widebasin.data import SplitSizes, digits
from widebasin.sam import METHODS, NamedMethod
from widebasin.statistics import Metric
from widebasin.studies import STUDIES, Options
from widebasin.studies.answering import write_answer
from widebasin.sweep import Execution, Spec
from widebasin.sweep.events import Epoch, Finished
from widebasin.sweep.executors.local import Local
from widebasin.sweep.networks import load_network
from widebasin.sweep.run import run
from widebasin.sweep.spec import spec_type
from widebasin.training import (
    OPTIMIZERS,
    PRUNERS,
    Model,
    NamedOptimizer,
    Objective,
    Point,
    Problem,
    Program,
    Pruner,
    Recipe,
    choose_plan,
)
from widebasin.training.objective import cross_entropy
from widebasin.workloads import WORKLOADS, SupervisedWorkload


# A method: half of the clean gradient, half of SAM's
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HalfSAM(sam.Perturbing):
    passes_per_step = sam.Passes(2, 2)

    def evaluate(self, batch, state, key, step):
        value, clean = batch.clean()
        there = batch.gradient(sam.ascent_point(batch.params, clean, self.rho))
        return value, jax.tree.map(lambda a, b: (a + b) / 2, clean, there), state


# An optimizer
SIGNED = NamedOptimizer(
    "signSGD", "the sign of the gradient", lambda schedule, momentum, decay: optax.sign_sgd(schedule)
)


# A pruner: the smallest weights of the first kernel go
def smallest_of(key, params, gradient, sparsity):
    del key, gradient
    kernel = jax.tree.leaves(params)[0]
    kept = jnp.abs(kernel) > jnp.quantile(jnp.abs(kernel), sparsity)
    mask = jax.tree.map(lambda leaf: jnp.ones((), bool), params)
    return eqx.tree_at(lambda tree: jax.tree.leaves(tree)[0], mask, kept)


MAGNITUDE = Pruner(lambda shapes, sparsity: round(sparsity * jax.tree.leaves(shapes)[0].size), smallest_of)


# A model, a metric, an axis and a workload
class Gated(eqx.Module):
    first: jax.Array
    last: jax.Array

    def __init__(self, width, key):
        first, last = jax.random.split(key)
        self.first = 0.2 * jax.random.normal(first, (64, width))
        self.last = 0.2 * jax.random.normal(last, (width, 10))

    def __call__(self, x, *, sharpness):
        hidden = x @ self.first
        return hidden * jax.nn.sigmoid(sharpness * hidden) @ self.last


def macro_f1(logits, labels):
    return sklearn.metrics.f1_score(labels, logits.argmax(1), average="macro")


SHARPNESS = Axis(
    "sharpness", "sharpness", float, "a number above 0", lambda value: value > 0, (1.0,), help="Of the gate."
)
GATED_DIGITS = SupervisedWorkload(
    name="gated-digits",
    model="gated",
    description="digits, a gated layer",
    load=digits,
    build=lambda width, key: Gated(width, key),
    sizes=SplitSizes(train=200, valid=100, test=100),
    objective=Objective(cross_entropy, of_dataset={Metric("macro_f1", True): macro_f1}),
    recipe=Recipe(epochs=2, batch_size=50, learning_rate=0.01),
    widths=(4,),
    rhos=(0.1,),
    axes=(SHARPNESS,),
    given=("sharpness",),
)


# A problem that is no data set: every epoch draws its examples anew, and counts
@dataclass(frozen=True, eq=False)
class Online(Problem):
    recipe: Recipe
    metrics = (Metric("absolute_error", False),)
    steps_per_epoch = 5

    def init(self, key):
        return Model({"weights": jax.random.normal(key, (3,))}, ())

    def carry(self, source, key):
        return jnp.zeros((), jnp.int32)

    def epoch(self, data, source, carry, model, key, number):
        inputs = jax.random.normal(jax.random.fold_in(key, number), (self.steps_per_epoch, 8, 3))
        return carry + 1, (inputs, inputs.sum(-1))

    def losses(self, model, source, batch, keys, *, training):
        inputs, targets = batch
        errors = inputs @ model.params["weights"] - targets
        sums = {"loss": jnp.sum(errors**2), "absolute_error": jnp.sum(jnp.abs(errors))}
        return {name: (total, float(len(errors))) for name, total in sums.items()}, model.state

    def blocks(self, part):
        inputs = np.random.default_rng(0).standard_normal((2, 16, 3)).astype(np.float32)
        return inputs, inputs.sum(-1)


# An executor, and a listener
class SecondHalfFirst(Local):
    def run(self, job, tell):
        super().run(job.share(2, 2), tell)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(METHODS, "half-sam", NamedMethod("half SAM", "half of each gradient", HalfSAM))
    monkeypatch.setitem(OPTIMIZERS, "sign-sgd", SIGNED)
    monkeypatch.setitem(PRUNERS, "magnitude", MAGNITUDE)
    monkeypatch.setitem(WORKLOADS, GATED_DIGITS.name, GATED_DIGITS)
    monkeypatch.setitem(STUDIES, STUDY.name, STUDY)


@pytest.mark.slow
def test_method_optimizer_model_metric_axis_workload_executor_and_listener(tmp_path):
    heard = []
    spec = Spec(workload="gated-digits", methods=("sgd", "half-sam"), optimizer="sign-sgd", seeds=2)
    with_axis = dataclasses.asdict(spec) | {"sharpness": (0.5, 2.0)}
    spec = spec_type(GATED_DIGITS.axes)(**with_axis)
    execution = Execution(keep_parameters=True)
    folder = run(spec, tmp_path / "out", execution=execution, executor=SecondHalfFirst(), listeners=[heard.append])
    results = folder.results()
    assert results.groupby(["method", "sharpness"], sort=False).size().tolist() == [2, 2, 2, 2]
    order = [event.cell.method for event in heard if isinstance(event, Epoch)]
    assert order == sorted(order, key=["half-sam", "sgd"].index)
    assert isinstance(heard[-1], Finished)
    network = load_network(folder.path, method="half-sam", sharpness=2.0, seed=1)
    at = np.asarray(network.examples.test)
    logits = np.asarray(jax.vmap(network.model)(jnp.asarray(network.problem.dataset.inputs[at])))
    row = results[(results["method"] == "half-sam") & (results["sharpness"] == 2.0) & (results["seed"] == 1)].iloc[0]
    assert row["test_macro_f1"] == pytest.approx(macro_f1(logits, network.problem.dataset.targets[at]), rel=1e-5)
    description = folder.description()
    assert description.metric.name == "macro_f1"
    assert description.methods["sgd"].title == "signSGD"
    answer = write_answer(folder, Options()).answer
    assert "signSGD" in answer.setting
    assert any("sharpness" in column for column in answer.tables[0].columns)


@pytest.mark.parametrize("loop", ["scan", "step"])
def test_a_problem_that_is_no_data_set(loop):
    problem = Online(Recipe(epochs=3, batch_size=8, learning_rate=0.1, momentum=0.0, schedule="constant"))
    points = [Point.of(seed, rho=rho, learning_rate=0.1, weight_decay=0.0) for rho in (0.0, 0.05) for seed in (0, 1)]
    plan = dataclasses.replace(choose_plan(problem, len(points)), loop=loop)
    program = Program(problem, sam.METHODS["sam"].with_radius, plan)
    state, source, hyperparameters = program.start(points)
    history = []
    for last in (False, False, True):
        state, metrics = program.epoch(state, source, hyperparameters, last)
        history.append(metrics)
    assert np.asarray(state.carry)[: len(points)].tolist() == [3] * len(points)
    assert (history[-1]["valid_loss"] < 0.1 * history[0]["train_loss"]).all()
    inputs, targets = (leaf.reshape(-1, *leaf.shape[2:]) for leaf in problem.blocks("test"))
    errors = np.abs(np.asarray(state.params["weights"])[: len(points)] @ inputs.T - targets)
    np.testing.assert_allclose(history[-1]["test_absolute_error"][: len(points)], errors.mean(1), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_pruner_and_study(tmp_path):
    grid = {"study": "spread", "methods": ("sgd",), "widths": (4,), "seeds": 2, "epochs": 1, "train_examples": 200}
    folder = run(Spec(sparsity=(0.5,), pruners=("magnitude",), **grid), tmp_path / "out")
    results = folder.results()
    dense = WORKLOADS["digits-mlp"].num_params(4)
    assert results["num_params"].tolist() == [dense - 64 * 12 // 2] * 2
    answer = write_answer(folder, Options()).answer
    values = results["test_accuracy"]
    assert answer.findings[0] == f"Between the best and the worst of 2 seeds lie {values.max() - values.min():.3g}."
