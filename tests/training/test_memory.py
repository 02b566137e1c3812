"""Estimates of memory against what XLA says of the compiled program."""

import pytest
from training.tasks import DIGITS

from widebasin.sam import METHODS
from widebasin.training import Plan, Point, Program, computing_in
from widebasin.training.memory import (
    bytes_in_training,
    bytes_of,
    bytes_of_evaluation,
    bytes_of_residuals,
    step_shapes,
)
from widebasin.workloads import WORKLOADS

# How many times as much as the program takes may be estimated.
AT_MOST = 8


def occupied(problem, networks=2):
    """Bytes that the program of an epoch takes for each network, without the data that all share."""
    program = Program(problem, METHODS["sam"].with_radius, Plan(networks, "scan", "cpu"))
    own = dict.fromkeys(problem.axes, 0.1)
    settings = own | {"rho": 0.05, "label_noise": 0.0, "weight_decay": 1e-4, "learning_rate": 0.1}
    program.prepare([Point.of(seed, **settings) for seed in range(networks)])
    (compiled,) = program.loop._prepared.values()
    memory = compiled.memory_analysis()
    given = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return (given + memory.temp_size_in_bytes - bytes_of(problem.data)) / networks


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("digits-mlp", 16),
        ("digits-mlp", 512),
        pytest.param("digits-vit", 64, marks=pytest.mark.slow),
        pytest.param("phrases-lstm", 4, marks=pytest.mark.slow),
    ],
)
def test_the_estimate_is_an_upper_bound_and_not_far_from_what_the_program_takes(name, width):
    workload = WORKLOADS[name]
    problem = workload.problem(width, workload.recipe)
    with computing_in(problem.recipe.precision):
        estimated = bytes_in_training(problem)
    taken = occupied(problem)
    assert taken <= estimated <= AT_MOST * taken, (taken, estimated)


def test_residuals_are_parameters_inputs_and_activations():
    """Of a perceptron of 64, 12 and 10 units on 50 examples of 64 numbers."""
    shapes = step_shapes(DIGITS)
    parameters, inputs, hidden = 4 * (65 * 12 + 13 * 10), 4 * 50 * 64, 4 * 50 * 12
    assert bytes_of(shapes.model.params) == parameters
    assert parameters + inputs + hidden <= bytes_of_residuals(DIGITS, shapes) + 4 * (12 + 10)
    assert bytes_of_residuals(DIGITS, shapes) <= 2 * (parameters + inputs + hidden)


def test_an_evaluation_block_counts_at_its_fullest_moment():
    shapes = step_shapes(DIGITS)
    largest = max(block.inputs.shape[0] for block in shapes.blocks.values())
    assert largest == DIGITS.sizes.train
    least = bytes_of(shapes.model.params) + 4 * largest * (64 + 12)
    assert least <= bytes_of_evaluation(DIGITS, shapes) <= 3 * least
