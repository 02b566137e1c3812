"""Every method with hyperparameters that show within a few steps, and the problems that all of them are tested on."""

import functools
import inspect
from typing import NamedTuple

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from together import together

from widebasin import sam

FAMILY: dict[str, sam.Method] = {
    "SGD": sam.SGD(),
    "SAM": sam.SAM(0.3),
    "unnormalized SAM": sam.SAM(0.3, normalize=False),
    "multi-step SAM": sam.MultiStepSAM(0.3, steps=3),
    "random perturbation": sam.RandomPerturbation(0.3),
    "ASAM": sam.ASAM(0.3, 0.1),
    "ASAM of matrices": sam.ASAM(0.3, 0.1, adaptive=sam.by_dimensions(2)),
    "GSAM": sam.GSAM(0.3, 0.4),
    "adaptive GSAM": sam.GSAM(0.3, 0.4, adaptive=True),
    "LookSAM": sam.LookSAM(0.3, 3, 0.7),
    "LookSAM by tensor": sam.LookSAM(0.3, 3, 0.7, per_tensor=True),
    "SAM every k": sam.SAMEveryK(0.3, 3),
    "ESAM": sam.ESAM(0.3, 0.6, 0.5),
    "friendly SAM": sam.FriendlySAM(0.3, 0.9, 0.8),
    "friendly SAM of the previous average": sam.FriendlySAM(0.3, 0.9, 0.8, subtract="previous"),
    "WSAM": sam.WSAM(0.3, 0.8),
    "SSAM": sam.SSAM(0.3, 0.5, every=2),
    "random SSAM": sam.SSAM(0.3, 0.5, scores="random", every=2),
    "linearized SAM": sam.LinearizedSAM(0.3),
    "normalized linearized SAM": sam.LinearizedSAM(0.3, normalize=True),
}
# Without the variants of a method, where they share what is tested; SSAM's random scores are another method.
ONE_OF_EACH = {
    name: method
    for i, (name, method) in enumerate(FAMILY.items())
    if name == "random SSAM" or type(method) not in {type(other) for other in list(FAMILY.values())[:i]}
}
PERTURBING = {name: method for name, method in FAMILY.items() if name != "SGD"}
DRAWING = {name: FAMILY[name] for name in ("random perturbation", "ESAM", "random SSAM")}
SEEING_EXAMPLES = {name: FAMILY[name] for name in ("ESAM", "SSAM")}
STATEFUL = {name: method for name, method in FAMILY.items() if jax.tree.leaves(method.init({"w": np.ones(1)}))}


def each(methods):
    """Runs a test with every method, in one item; a failure names its methods."""
    return together("method", methods.values(), ids=list(methods))


# One without a second pass, one with it, one with a state and steps of two kinds.
QUICK = ("SGD", "SAM", "LookSAM")


def each_compiled(methods):
    """The same where every method compiles a program: an item with those of ``QUICK``, and a slow one with the others.

    All methods are in the one where there are but a few.
    """
    quick = {name: method for name, method in methods.items() if name in QUICK}
    others = {name: method for name, method in methods.items() if name not in QUICK}
    if not quick or len(others) < len(QUICK):
        return each(methods)

    def decorate(test):
        items = {"quick": each(quick)(test), "others": each(others)(test)}

        @functools.wraps(test)
        def item(which, **fixtures):
            items[which](**fixtures)

        signature = inspect.signature(items["quick"])
        which = inspect.Parameter("which", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        item.__signature__ = signature.replace(parameters=[which, *signature.parameters.values()])
        return pytest.mark.parametrize("which", ["quick", pytest.param("others", marks=pytest.mark.slow)])(item)

    return decorate


# A network: nothing about it is special, so agreement on it is agreement. ---------------------------------------------


class Problem(NamedTuple):
    params: dict[str, jax.Array]
    batches: list[tuple[jax.Array, jax.Array]]  # inputs, targets


KEY = 7
BATCH = 16


def network(params, inputs):
    return jnp.tanh(inputs @ params["in"].T + params["bias"][None]) @ params["out"]


def loss(params, inputs, targets):
    return jnp.mean((network(params, inputs) - targets) ** 2)


def problem(seed=0, batches=6):
    """A network with 12 parameters, and batches of 16 examples; in the precision that is set."""
    random = np.random.default_rng(seed)
    params = {"in": random.normal(size=(3, 2)), "bias": random.normal(size=3), "out": random.normal(size=3)}
    examples = [(random.normal(size=(BATCH, 2)), random.normal(size=BATCH)) for _ in range(batches)]
    return Problem(*jax.tree.map(jnp.asarray, (params, examples)))


TRACES = []  # of ``step``


@jax.jit
def step(method, params, state, inputs, targets, key):
    """``(value, gradients, state)``; one compiled program for a method, whatever its radius."""
    TRACES.append(type(method))
    return method.value_and_grad(loss)(params, state, inputs, targets, key=key)


def descent(method, params, state, batches, first=0, rate=0.1):
    """Gradient descent by hand, with a key for every step: ``(params, state, [(value, gradients) ...])``."""
    outputs = []
    for t, batch in enumerate(batches, first):
        value, gradients, state = step(method, params, state, *batch, jax.random.fold_in(jax.random.key(KEY), t))
        params = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
        outputs.append((value, gradients))
    return params, state, outputs


# A quadratic: every formula can be computed by hand. ------------------------------------------------------------------

MATRIX = np.array(
    [
        [2.0, 0.5, 0.0, -0.3, 0.1],
        [0.5, 1.0, -0.3, 0.0, 0.2],
        [0.0, -0.3, 3.0, 0.7, 0.0],
        [-0.3, 0.0, 0.7, 0.5, 0.1],
        [0.1, 0.2, 0.0, 0.1, 1.5],
    ]
)
START = np.array([1.0, -2.0, 0.5, 0.3, -0.7])
EVERYWHERE = np.ones(5, bool)
EXAMPLES = np.random.default_rng(1).normal(size=(7, 8, 5))  # steps, examples of a batch, parameters
RATE = 0.05


def quadratic(params, examples):
    """The mean over examples ``x`` of ``(w - x)' A (w - x) / 2``, with ``w`` in two tensors of 2 and 3 entries."""
    offsets = jnp.concatenate([params["a"], params["b"]]) - examples
    return 0.5 * jnp.mean(jnp.sum((offsets @ MATRIX) * offsets, axis=-1))


def gradient(w, examples):
    """Of ``quadratic``, by hand."""
    return MATRIX @ (w - examples.mean(0))


def length(vector):
    return max(np.linalg.norm(vector), 1e-12)


def tensors(w):
    return {"a": jnp.asarray(w[:2]), "b": jnp.asarray(w[2:])}


def vector(params):
    return np.concatenate([np.asarray(params["a"]), np.asarray(params["b"])])


def descent_on_quadratic(method, key=None, examples=EXAMPLES):
    """The gradients of descent with another batch at every step: an array of steps and parameters."""
    function = jax.jit(method.value_and_grad(quadratic))
    w, state, gradients = START, method.init(tensors(START)), []
    for t, batch in enumerate(examples):
        keys = {} if key is None else {"key": jax.random.fold_in(key, t)}
        value, found, state = function(tensors(w), state, batch, **keys)
        np.testing.assert_allclose(value, 0.5 * np.mean([(w - x) @ MATRIX @ (w - x) for x in batch]), rtol=1e-12)
        gradients.append(vector(found))
        w = w - RATE * gradients[-1]
    return np.array(gradients)


def descent_by_hand(rule, examples=EXAMPLES):
    """The same with ``rule(t, w, batch)`` in place of the method's gradient."""
    w, gradients = START, []
    for t, batch in enumerate(examples):
        gradients.append(rule(t, w, batch))
        w = w - RATE * gradients[-1]
    return np.array(gradients)


def sam_by_hand(rho, normalize=True):
    """The rule of SAM."""

    def rule(t, w, batch):
        g = gradient(w, batch)
        return gradient(w + rho * g / (length(g) if normalize else 1.0), batch)

    return rule


# Any quadratic, for hypothesis: multiples of 1/4, of which a gradient is zero or far from it.

_DYADIC = st.integers(-16, 16).map(lambda n: n / 4)
POSITIVE_MATRICES = hnp.arrays(float, (4, 4), elements=_DYADIC).map(lambda root: root @ root.T)
VECTORS = hnp.arrays(float, 4, elements=_DYADIC)
RADII = st.floats(0, 2)


@jax.jit
def _gradient_on(matrix, w, method):
    return method.value_and_grad(lambda w: 0.5 * w @ matrix @ w)(w, method.init(w))[1]


def gradient_on(matrix, w, method):
    """A method's first gradient on ``w' A w / 2``, in float64."""
    with jax.enable_x64(True):
        return np.asarray(_gradient_on(jnp.asarray(matrix), jnp.asarray(w), method))
