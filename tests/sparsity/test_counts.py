import re
from fractions import Fraction

import equinox as eqx
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widebasin import sam
from widebasin.models import MLP
from widebasin.sparsity import prunable, pruned_in_total, pruned_per_layer

LENET = eqx.filter_eval_shape(MLP.ladder, 784, 10, 100, key=jax.random.key(0))  # 784-300-100-10


def shapes(*sizes):
    return [jax.ShapeDtypeStruct((1, size), np.float32) for size in sizes]


@pytest.mark.parametrize(
    ("sparsity", "per_layer", "total"),
    [
        (0.0, (0, 0, 0), 0),
        (0.5, (117_600, 15_000, 500), 133_100),
        (0.75, (176_400, 22_500, 750), 199_650),
        (0.9375, (220_500, 28_125, 938), 249_562),  # 249,562.5 to the even number
        (0.984, (231_437, 29_520, 984), 261_941),  # 231,436.8 and 261,940.8
        (0.996, (234_259, 29_880, 996), 265_135),  # 234,259.2 and 265,135.2
        (1.0, (235_200, 30_000, 1_000), 266_200),
    ],
)
def test_counts_of_lenet_300_100(sparsity, per_layer, total):
    assert pruned_per_layer(LENET, sparsity) == per_layer
    assert pruned_in_total(LENET, sparsity) == total


@given(
    sizes=st.lists(st.integers(1, 300_000_000), min_size=1, max_size=5),
    sparsity=st.one_of(st.floats(0, 1), st.integers(0, 12).map(lambda k: 1 - 4.0**-k)),
)
def test_counts_are_the_nearest_whole_numbers(sizes, sparsity):
    """Against rational arithmetic; a product may be rounded to a half in double precision, not beyond."""
    exact = Fraction(sparsity)
    half = Fraction(1, 2) + Fraction(1, 10**6)
    for count, size in zip(pruned_per_layer(shapes(*sizes), sparsity), sizes, strict=True):
        assert abs(count - exact * size) <= half
        assert 0 <= count <= size
    assert abs(pruned_in_total(shapes(*sizes), sparsity) - exact * sum(sizes)) <= half


def test_the_total_is_not_the_sum_of_rounded_layers():
    assert pruned_per_layer(shapes(3, 3, 3), 0.5) == (2, 2, 2)
    assert pruned_in_total(shapes(3, 3, 3), 0.5) == 4


@pytest.mark.parametrize("counts", [pruned_per_layer, pruned_in_total])
@pytest.mark.parametrize("sparsity", [-0.1, 1.0001, 75.0, float("nan"), float("inf")])
def test_what_is_no_share_is_refused(counts, sparsity):
    said = rf"sparsity must be a fraction in \[0, 1\] .*, got {re.escape(repr(sparsity))}"
    with pytest.raises(ValueError, match=said):
        counts(LENET, sparsity)


PARAMS = {
    "kernel": np.ones((2, 3), np.float32),
    "convolution": np.ones((3, 3, 1, 2), np.float16),
    "bias": np.ones(3, np.float32),
    "temperature": np.float32(1),
    "table": np.ones((2, 2), int),
    "activation": jax.nn.relu,
    "nothing": None,
}


def test_kernels_can_be_pruned_and_nothing_else():
    flags = prunable(PARAMS)
    assert {name for name, flag in flags.items() if flag} == {"kernel", "convolution"}
    assert jax.tree.structure(flags) == jax.tree.structure(PARAMS)


def test_a_choice_of_ones_own():
    assert pruned_per_layer(PARAMS, 0.5, sam.by_path("bias|kernel")) == (2, 3)
    assert pruned_in_total(PARAMS, 0.5, lambda params: {name: name == "kernel" for name in params}) == 3


def test_a_choice_may_be_a_prefix():
    params = {"encoder": {"kernel": np.ones((4, 4)), "bias": np.ones(4)}, "head": np.ones((4, 2))}
    assert pruned_per_layer(params, 0.5, lambda _: {"encoder": True, "head": False}) == (2, 8)


def test_a_choice_of_what_holds_no_weights_is_refused_by_name():
    with pytest.raises(ValueError, match=r"which selects \['table'\], which is not a floating-point array but ndarray"):
        pruned_per_layer(PARAMS, 0.5, sam.by_path("table"))


def test_a_choice_of_nothing_is_refused():
    with pytest.raises(ValueError, match="which selects none of the parameters"):
        pruned_in_total({"bias": np.ones(3)}, 0.5)


def test_a_choice_that_is_no_boolean_is_refused():
    with pytest.raises(TypeError, match="which must return True or False for every leaf, got 1, of type int"):
        pruned_in_total([np.ones((2, 2))], 0.5, lambda params: [1])
