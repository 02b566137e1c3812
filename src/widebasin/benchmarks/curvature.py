"""The cost of measuring curvature, in gradients, Hessian-vector products and memory, compared with other tools."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jaxtyping import Array, Float, PyTree

from widebasin import curvature
from widebasin.benchmarks import step
from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.epoch import WIDTH, ProgramSAM, gradient_flops, program_sam, torch_sam
from widebasin.benchmarks.synthetic import CLASSES, FEATURES
from widebasin.benchmarks.timing import Timing, interleave
from widebasin.benchmarks.torch_curvature import CurvlinopsHessian, PyHessian, TorchHessian, installed
from widebasin.benchmarks.torch_sam import torch_threads
from widebasin.training import CLASSIFICATION
from widebasin.training.compilation import without_compilation_cache

EXAMPLES, CHUNK_SIZE = 1_024, 128
# Enough to fit nearly all examples: nine eigenvalues, one less than classes, stand out.
EPOCHS = 40
EIGENVALUES, TOLERANCE = 5, 1e-3
# Of the non-uniformity s_2, which is an average over single examples.
SAMPLES, SAMPLES_AT_ONCE = 256, 64
MEMORY_EXAMPLES, MEMORY_CHUNK_SIZE = (1_024, 4_096, 16_384), 256
# Of a Hessian-vector product in gradients, and of memory as examples are added.
PRODUCT_TARGET, MEMORY_TARGET = 2.5, 1.05
# Seconds after which no further round of a part begins.
LONGEST = 60.0

Columns = tuple[tuple[str, str], ...]
Rival = TorchHessian | CurvlinopsHessian | PyHessian
Result = TypeVar("Result")

# Name in the table -> the package that it needs besides torch.
RIVALS: dict[str, tuple[str, type[Rival]]] = {
    "PyTorch": ("torch", TorchHessian),
    "curvlinops": ("curvlinops", CurvlinopsHessian),
    "PyHessian": ("pyhessian", PyHessian),
}


@dataclass(frozen=True)
class Found:
    """Eigenvalues by another tool.

    Attributes:
        eigenvalues: in descending order.
        products: number of Hessian-vector products; ``None`` if the tool does not report it.
        converged: whether they converged to the tool's tolerance; ``None`` if the tool does not report it.
    """

    eigenvalues: Float[np.ndarray, " k"]
    products: int | None
    converged: bool | None


class Kept(Generic[Result]):
    """A call whose last result is kept, so that slow calls need not be repeated for their result.

    Args:
        call: function without arguments.
    """

    result: Result

    def __init__(self, call: Callable[[], Result]) -> None:
        self.call = call

    def __call__(self) -> Result:
        """Calls the function and keeps the result."""
        self.result = self.call()
        return self.result


def example_loss(model: PyTree, example: PyTree) -> Float[Array, ""]:
    """Cross entropy of one example."""
    inputs, label = example
    return CLASSIFICATION.loss(model(inputs), label)


def mean_loss(model: PyTree, batch: PyTree) -> Float[Array, ""]:
    """The mean cross entropy over a batch."""
    return step.loss_fn(model, *batch)


def product_flops(sizes: tuple[int, ...], examples: int) -> int:
    """Minimum floating-point operations of a product with the Hessian of an MLP's loss.

    The passes forward and back of the gradient and the derivatives of both along the vector: 16 per weight and example,
    of which the first layer, whose inputs are constants, needs 6. Biases, activations and the loss are left out.
    """
    weights = [inputs * outputs for inputs, outputs in pairwise(sizes)]
    return examples * (16 * sum(weights) - 10 * weights[0])


def temporaries(operator: curvature.LinearOperator, examples: int) -> int | None:
    """Bytes of temporaries of a compiled product over ``examples``; ``None`` if the backend does not report them."""
    point, arrays, batch = operator.arguments
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((examples, *leaf.shape[1:]), leaf.dtype), batch)
    analysis = jax.jit(operator.apply).lower(point, (point, arrays, batch)).compile().memory_analysis()
    return None if analysis is None else analysis.temp_size_in_bytes


def arpack(product: Callable[[np.ndarray], np.ndarray], size: int) -> Found:
    """The largest eigenvalues of an operator in float32 by ``scipy.sparse.linalg.eigsh``."""
    products = 0

    def counted(vector: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        return product(vector.ravel())

    # Its tolerance is for residuals and relative to each eigenvalue; it raises an error where it does not converge.
    values = scipy.sparse.linalg.eigsh(
        scipy.sparse.linalg.LinearOperator((size, size), matvec=counted, dtype=np.float32),  # pyright: ignore
        EIGENVALUES,
        which="LA",
        tol=TOLERANCE,  # pyright: ignore[reportArgumentType]
        v0=np.random.default_rng(0).standard_normal(size, np.float32),
        return_eigenvectors=False,
    )
    return Found(np.sort(values)[::-1], products, True)


def solve(rival: Rival, size: int) -> Found:
    """The largest eigenvalues in PyTorch: by the rival's own power iteration, otherwise by ARPACK."""
    if isinstance(rival, PyHessian):
        return Found(rival.eigenvalues(EIGENVALUES), None, None)
    return arpack(rival.product, size)


def measure(rounds: int) -> Benchmark:
    """Times products, eigenvalues and s_2 for a trained network, and gets the memory use from the compiler."""
    trained = program_sam(EXAMPLES, WIDTH)
    for _ in range(EPOCHS):
        trained.epoch()
    rivals = _rivals(trained)
    return Benchmark(
        name="curvature",
        title=f"Hessian of the mean cross entropy over {EXAMPLES:,} examples, MLP {'-'.join(map(str, _sizes()))}, "
        f"trained by SAM for {EPOCHS} epochs",
        rounds=rounds,
        rows=(
            *_products(trained, rivals, rounds),
            *_eigenvalues(trained, rivals, rounds),
            *_moments(trained, rounds),
            *_memory(trained),
        ),
        note="HVP: Hessian-vector product. 'of limit' is a time divided by a limit. The limit is, for products, the "
        f"time of a gradient times the ratio of minimum operations, {_product_limit():.2f}; for eigenvalues, the time "
        f"of the products used; for s_2, the time of one HVP over the {SAMPLES} examples per product with the mean "
        "Hessian and 2 per product with D_2. 'difference' is the largest relative difference of an eigenvalue from "
        "ours. 'compiles': once, without any cache of compiled programs. ARPACK is scipy's eigsh. Tolerances are "
        f"{TOLERANCE:g}. 'MB': temporaries of the compiled HVP, without data, parameters and the result. No part "
        f"starts a round after {LONGEST:g} s, so slow parts have fewer rounds.",
    )


def _sizes() -> tuple[int, ...]:
    return FEATURES, 3 * WIDTH, WIDTH, CLASSES


def _product_limit() -> float:
    return product_flops(_sizes(), EXAMPLES) / gradient_flops(_sizes(), EXAMPLES)


def _products(trained: ProgramSAM, rivals: dict[str, Rival], rounds: int) -> Iterator[Measured]:
    """A gradient and products with the Hessian."""
    model, batch = trained.params, trained.train_data
    gradient = jax.jit(jax.grad(mean_loss))
    whole = curvature.hessian(mean_loss, model, batch)
    chunks = curvature.hessian(mean_loss, model, batch, chunk_size=CHUNK_SIZE)
    vector = jax.random.normal(jax.random.key(0), (whole.size,))
    given = np.asarray(vector)
    in_chunks = f"HVP, chunks of {CHUNK_SIZE}"
    timings = interleave(
        {
            "gradient": lambda: gradient(model, batch),
            "HVP": lambda: whole @ vector,
            in_chunks: lambda: chunks @ vector,
            **{f"HVP, {name}": partial(rival.product, given) for name, rival in rivals.items()},
        },
        rounds,
        seconds=LONGEST,
    )
    first = timings["gradient"]
    yield Measured("gradient", first)
    for what in ("HVP", in_chunks):
        ratio = timings[what].over(first)
        yield Measured(what, timings[what], ratio, "gradient", PRODUCT_TARGET, _of_limit(ratio / _product_limit()))
    for name, (package, _) in RIVALS.items():
        what = f"HVP, {name}"
        yield _held_against(what, timings, "HVP", missing=f"{package} not installed")


def _eigenvalues(trained: ProgramSAM, rivals: dict[str, Rival], rounds: int) -> Iterator[Measured]:
    """The largest eigenvalues by every contender."""
    model, batch = trained.params, trained.train_data
    operator = curvature.hessian(mean_loss, model, batch)
    vector = jax.random.normal(jax.random.key(0), (operator.size,))
    top = f"top {EIGENVALUES}"
    mine = Kept(partial(curvature.top_eigenvalues, mean_loss, model, batch, EIGENVALUES, tolerance=TOLERANCE))
    others = {f"{top}, ARPACK": Kept(partial(arpack, partial(_by_ours, operator), operator.size))}
    for name, rival in rivals.items():
        others[f"{top}, {name}"] = Kept(partial(solve, rival, operator.size))
    timings = interleave({"HVP": lambda: operator @ vector, top: mine, **others}, rounds, seconds=LONGEST)
    with without_compilation_cache():
        jax.clear_caches()
        compiling = interleave({top: mine}, 1, warm=False)[top]

    pairs = mine.result
    limit = pairs.products * timings["HVP"].median
    counted = (("products", str(pairs.products)), ("converged", _yes(pairs.converged)))
    yield Measured(top, timings[top], 1.0, top, more=(*counted, *_of_limit(timings[top].median / limit)))
    yield Measured(f"{top}, compiles", compiling, compiling.over(timings[top]), top)
    packages = {"ARPACK": "scipy", **{name: package for name, (package, _) in RIVALS.items()}}
    for name, package in packages.items():
        what = f"{top}, {name}"
        more = _compared(others[what].result, pairs.eigenvalues) if what in others else ()
        yield _held_against(what, timings, top, more, f"{package} not installed")


def _moments(trained: ProgramSAM, rounds: int) -> Iterator[Measured]:
    """The non-uniformity of the per-sample Hessians."""
    model = trained.params
    batch = jax.tree.map(lambda leaf: leaf[:SAMPLES], trained.train_data)
    operator = curvature.hessian(mean_loss, model, batch)
    vector = jax.random.normal(jax.random.key(0), (operator.size,))
    moments = Kept(
        partial(
            curvature.hessian_moments,
            example_loss,
            model,
            batch,
            orders=(2,),
            tolerance=TOLERANCE,
            chunk_size=SAMPLES_AT_ONCE,
        )
    )
    product, what = f"HVP, {SAMPLES} examples", f"s_2, {SAMPLES} examples, chunks of {SAMPLES_AT_ONCE}"
    timings = interleave({product: lambda: operator @ vector, what: moments}, rounds, seconds=LONGEST)
    pairs = moments.result.eigenpairs
    # The least that products with H and with D_2 need: one and two for every example.
    limit = (pairs[1].products + 2 * pairs[2].products) * timings[product].median
    yield Measured(product, timings[product])
    more = (
        ("products", f"{pairs[1].products} + {pairs[2].products}"),
        ("converged", _yes(moments.result.converged)),
        *_of_limit(timings[what].median / limit),
    )
    yield Measured(what, timings[what], timings[what].over(timings[product]), product, more=more)


def _memory(trained: ProgramSAM) -> Iterator[Measured]:
    """The memory of the compiled product, in chunks and whole, for growing numbers of examples."""
    for name, size in ((f"chunks of {MEMORY_CHUNK_SIZE}", MEMORY_CHUNK_SIZE), ("whole", None)):
        operator = curvature.hessian(mean_loss, trained.params, trained.train_data, chunk_size=size)
        bytes_of = {examples: temporaries(operator, examples) for examples in MEMORY_EXAMPLES}
        fewest = bytes_of[MEMORY_EXAMPLES[0]]
        for examples, found in bytes_of.items():
            what = f"HVP, {examples:,} examples, {name}"
            if found is None or not fewest:
                yield Measured(what, None, missing="not reported by this backend")
                continue
            target = MEMORY_TARGET if size is not None else None
            against = f"{MEMORY_EXAMPLES[0]:,} examples"
            more = (("MB", f"{found / 1e6:.3g}"),)
            yield Measured(what, None, found / fewest, against, target, more)


def _rivals(trained: ProgramSAM) -> dict[str, Rival]:
    """The installed rivals, each with its own network."""
    return {
        name: rival(torch_sam(trained, torch_threads()))
        for name, (package, rival) in RIVALS.items()
        if installed("torch") and installed(package)
    }


def _by_ours(operator: curvature.LinearOperator, vector: Float[np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
    return np.asarray(operator @ jnp.asarray(vector))


def _held_against(
    what: str, timings: dict[str, Timing], against: str, more: Columns = (), missing: str = ""
) -> Measured:
    """A row with the ratio to another contender of the same run, or the reason why there is none."""
    if what not in timings:
        return Measured(what, None, missing=missing)
    return Measured(what, timings[what], timings[what].over(timings[against]), against, more=more)


def _compared(found: Found, eigenvalues: Float[np.ndarray, " k"]) -> Columns:
    return (
        ("products", "" if found.products is None else str(found.products)),
        ("converged", "" if found.converged is None else _yes(found.converged)),
        ("difference", f"{np.max(np.abs(found.eigenvalues / eigenvalues - 1)):.0e}"),
    )


def _of_limit(share: float) -> Columns:
    return (("of limit", f"{share:.2f}"),)


def _yes(whether: bool) -> str:
    return "yes" if whether else "no"
