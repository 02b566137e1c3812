"""The contenders multiply with the same matrix; what is counted, divided and compared is what the table says."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin import curvature as package
from widebasin.benchmarks import curvature
from widebasin.benchmarks.epoch import program_sam, torch_sam
from widebasin.models import MLP

EXAMPLES, WIDTH = 128, 3
# What importing the packages of others says of themselves.
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")


@pytest.fixture(scope="module")
def trained():
    program = program_sam(EXAMPLES, WIDTH)
    program.epoch()
    return program


@pytest.fixture(scope="module")
def operator(trained):
    return package.hessian(curvature.mean_loss, trained.params, trained.train_data)


@pytest.fixture(scope="module", params=curvature.RIVALS)
def rival(request):
    pytest.importorskip("torch")
    needed, rival = curvature.RIVALS[request.param]
    pytest.importorskip(needed)
    return rival(torch_sam(request.getfixturevalue("trained"), threads=1))


@quiet
def test_other_tools_multiply_with_the_same_matrix(rival, operator):
    vector = jax.random.normal(jax.random.key(0), (operator.size,))
    expected = np.asarray(operator @ vector)
    np.testing.assert_allclose(rival.product(np.asarray(vector)), expected, atol=1e-5 * np.linalg.norm(expected))


@quiet
@pytest.mark.slow
def test_other_tools_find_the_same_eigenvalues(rival, trained, operator):
    found = curvature.solve(rival, operator.size)
    pairs = package.top_eigenvalues(curvature.mean_loss, trained.params, trained.train_data, curvature.EIGENVALUES)
    assert pairs.converged
    # PyHessian stops where an eigenvalue changes by less than 1e-3 of itself, which is not yet its error.
    np.testing.assert_allclose(found.eigenvalues, pairs.eigenvalues, rtol=0.05 if found.converged is None else 1e-3)


def test_arpack_finds_the_largest_of_known_eigenvalues_and_counts_products():
    values = np.concatenate([np.linspace(-1, 1, 295), [3, 4, 5, 6, 7]]).astype(np.float32)
    calls = []

    def product(vector):
        calls.append(vector.shape)
        return values * vector

    found = curvature.arpack(product, len(values))
    np.testing.assert_allclose(found.eigenvalues, [7, 6, 5, 4, 3], rtol=1e-3)
    assert found.products == len(calls)
    assert set(calls) == {(300,)}


@pytest.mark.slow
def test_flops_are_those_that_the_compiler_counts():
    sizes, examples = (784, 300, 100, 10), 128
    model = MLP(sizes, key=jax.random.key(0))
    batch = (jnp.ones((examples, 784)), jnp.zeros(examples, jnp.int32))
    operator = package.hessian(curvature.mean_loss, model, batch)
    point, *_ = operator.arguments
    counted = jax.jit(operator.apply).lower(point, operator.arguments).compile().cost_analysis()["flops"]
    # The compiler also counts activations and the loss.
    assert curvature.product_flops(sizes, examples) == pytest.approx(counted, rel=0.03)


@pytest.mark.slow
def test_temporaries_grow_with_the_examples_unless_they_come_in_chunks(trained, operator):
    chunked = package.hessian(curvature.mean_loss, trained.params, trained.train_data, chunk_size=64)
    whole = [curvature.temporaries(operator, examples) for examples in (1024, 4096)]
    chunks = [curvature.temporaries(chunked, examples) for examples in (1024, 4096)]
    assert whole[1] > 2 * whole[0]
    assert chunks[1] == pytest.approx(chunks[0], rel=0.05)
    assert chunks[0] < whole[0]


def test_the_last_result_of_a_call_is_kept():
    numbers = iter(range(3))
    kept = curvature.Kept(lambda: next(numbers))
    assert [kept(), kept()] == [0, 1]
    assert kept.result == 1


@pytest.fixture(scope="module")
def found():
    small = {
        "EXAMPLES": EXAMPLES,
        "WIDTH": 2,
        "EPOCHS": 1,
        "CHUNK_SIZE": 64,
        "SAMPLES": 16,
        "SAMPLES_AT_ONCE": 8,
        "MEMORY_EXAMPLES": (128, 256),
        "MEMORY_CHUNK_SIZE": 64,
        "installed": lambda package: False,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small.items():
            patch.setattr(curvature, name, value)
        return curvature.measure(2)


@pytest.mark.slow
def test_rows_are_held_against_what_they_name(found):
    rows = {row.what: row for row in found.rows}
    for what, against in {
        "HVP": "gradient",
        "HVP, chunks of 64": "gradient",
        "top 5": "top 5",
        "top 5, compiles": "top 5",
        "top 5, ARPACK": "top 5",
        "s_2, 16 examples, chunks of 8": "HVP, 16 examples",
    }.items():
        assert rows[what].against == against
        assert rows[what].ratio == pytest.approx(rows[what].timing.over(rows[against].timing))
    assert rows["top 5, compiles"].ratio > 1
    assert len(rows["top 5, compiles"].timing.seconds) == 1
    assert len(rows["HVP"].timing.seconds) == 2


@pytest.mark.slow
def test_the_limit_of_a_product_is_the_ratio_of_operations(found):
    rows = {row.what: row for row in found.rows}
    sizes = (784, 6, 2, 10)
    ratio = curvature.product_flops(sizes, 1) / curvature.gradient_flops(sizes, 1)
    for what in ("HVP", "HVP, chunks of 64"):
        assert float(dict(rows[what].more)["of limit"]) == pytest.approx(rows[what].ratio / ratio, abs=0.006)


@pytest.mark.slow
def test_eigenvalues_converge_and_agree(found):
    rows = {row.what: dict(row.more) for row in found.rows}
    assert rows["top 5"]["converged"] == rows["top 5, ARPACK"]["converged"] == "yes"
    assert float(rows["top 5, ARPACK"]["difference"]) < 1e-3
    assert int(rows["top 5"]["products"]) > curvature.EIGENVALUES


@pytest.mark.slow
def test_memory_in_chunks_is_flat_and_meets_its_target(found):
    rows = {row.what: row for row in found.rows}
    assert rows["HVP, 256 examples, chunks of 64"].ratio <= curvature.MEMORY_TARGET
    assert rows["HVP, 256 examples, whole"].ratio > curvature.MEMORY_TARGET
    assert rows["HVP, 256 examples, whole"].target is None


@pytest.mark.slow
def test_what_is_not_installed_says_so_and_the_record_is_json(found):
    rows = {row[0]: row for row in found.table().rows}
    for name, (needed, _) in curvature.RIVALS.items():
        assert rows[f"HVP, {name}"][1] == rows[f"top 5, {name}"][1] == f"{needed} not installed"
    assert json.loads(json.dumps(found.record())) == found.record()
