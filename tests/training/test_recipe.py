import jax.numpy as jnp
import numpy as np
import optax
import pytest

from widebasin.training import Recipe


def recipe(**changes):
    return Recipe(**({"epochs": 4, "batch_size": 10, "learning_rate": 0.5} | changes))


def test_step_schedule_decays_at_the_milestones():
    relative = recipe(milestones=(0.25, 0.5), decay=0.1).relative_learning_rate(steps_per_epoch=10)
    values = [float(relative(step)) for step in (0, 9, 10, 19, 20, 39)]
    assert values == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_milestones_in_one_step_all_count():
    schedule = recipe(epochs=1, milestones=(0.5, 0.75)).relative_learning_rate(2)
    assert [float(schedule(step)) for step in (0, 1)] == pytest.approx([1.0, 0.01])


def test_cosine_schedule_ends_at_zero():
    relative = recipe(schedule="cosine").relative_learning_rate(steps_per_epoch=10)
    steps = np.arange(0, 41, 5)
    assert [float(relative(s)) for s in steps] == pytest.approx((1 + np.cos(np.pi * steps / 40)) / 2, abs=1e-6)


def test_constant_schedule_is_constant():
    relative = recipe(schedule="constant").relative_learning_rate(steps_per_epoch=10)
    assert {float(relative(step)) for step in (0, 20, 39)} == {1.0}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_optimizer_is_heavy_ball_with_decay_of_the_unperturbed_parameters(momentum):
    learning_rate, decay = 0.1, 0.01
    optimizer = recipe(momentum=momentum, schedule="constant").optimizer_at(10, jnp.float32(learning_rate), decay)
    w = velocity = 0.0
    w, params = 2.0, jnp.array([2.0])
    state = optimizer.init(params)
    for gradient in (1.0, -0.5, 0.25):
        updates, state = optimizer.update(jnp.array([gradient]), state, params)
        params = optax.apply_updates(params, updates)
        velocity = momentum * velocity + (gradient + decay * w)
        w -= learning_rate * velocity
    assert float(params[0]) == pytest.approx(w, rel=1e-6)


def test_inverse_schedule_falls_epoch_by_epoch():
    relative = recipe(schedule="inverse", epochs=7).relative_learning_rate(steps_per_epoch=10)
    values = [float(relative(step)) for step in (0, 9, 10, 19, 30, 69)]
    assert values == pytest.approx([1, 1, 3 / 4, 3 / 4, 1 / 2, 1 / 3])


@pytest.mark.parametrize(
    ("schedule", "plain"),
    [
        ("constant", lambda step: 1.0),
        ("cosine", lambda step: (1 + np.cos(np.pi * step / 40)) / 2),
        ("inverse", lambda step: 1 / (1 + step // 10 / 3)),
        ("step", lambda step: 0.1 ** ((step >= 20) + (step >= 30))),
    ],
)
def test_warmup_rises_in_equal_parts_to_the_schedule(schedule, plain):
    steps = (0, 1, 3, 7, 8, 25, 39)
    for warmup in (3, 4, 5_000):  # 4 is a tenth of the steps
        relative = recipe(schedule=schedule, warmup_steps=warmup).relative_learning_rate(steps_per_epoch=10)
        expected = [plain(step) * min(1, (step + 1) / min(warmup, 4)) for step in steps]
        assert [float(relative(step)) for step in steps] == pytest.approx(expected, abs=1e-6)


def test_the_optimizer_counts_the_steps_of_the_warmup():
    optimizer = recipe(epochs=20, momentum=0.0, schedule="inverse", warmup_steps=4).optimizer_at(2, 0.5, 0.0)
    params = jnp.array([0.0])
    state = optimizer.init(params)
    rates = []
    for _ in range(6):
        updates, state = optimizer.update(jnp.array([1.0]), state, params)
        rates.append(-float(updates[0]))
    expected = [0.5 * min(1, (n + 1) / 4) / (1 + n // 2 / 3) for n in range(6)]
    assert rates == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("learning_rate", -0.05),
        ("learning_rate", np.nan),
        ("schedule", "stepp"),
        ("milestones", (50.0, 75.0)),
        ("decay", np.nan),
        ("optimizer", "sgdm"),
        ("momentum", 1.5),
        ("momentum", -0.1),
        ("weight_decay", -1.0),
        ("epsilon", -1.0),
        ("clip", 0.0),
        ("clip", -1.0),
        ("warmup_steps", -3),
        ("precision", "float16"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name} of a recipe must be .*, got"):
        recipe(**{name: value})
