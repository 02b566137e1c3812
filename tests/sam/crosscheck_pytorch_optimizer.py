"""The family against the optimizers of pytorch_optimizer: the same network, batches and steps, parameter by parameter.

Not part of the default run, for it needs two packages that nothing else does::

    pip install torch pytorch_optimizer
    pytest tests/sam/crosscheck_pytorch_optimizer.py

Both sides compute in float64, but theirs rounds the norm of the gradient to float32 (``get_global_gradient_norm``),
which makes an ascent shorter or longer by up to 1e-7 of itself. The comparisons replace that function by one that does
not round, and then all digits agree but those that constants take: they add 1e-12 to a norm, LookSAM 1e-8, where we
have a lower bound. One comparison leaves their function as it is.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from widebasin import sam

REASON = "needs torch and pytorch_optimizer: pip install torch pytorch_optimizer"
torch = pytest.importorskip("torch", reason=REASON)
pytorch_optimizer = pytest.importorskip("pytorch_optimizer", reason=REASON)

SIZES, BATCH_SIZE, STEPS = (6, 16, 8, 3), 16, 12
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, RHO = 0.1, 0.9, 1e-2, 0.3
# Of the parameters after all steps.
EXACT, LOOKSAM, ROUNDED_NORM = 1e-10, 1e-6, 1e-6

pytestmark = pytest.mark.usefixtures("float64")


class Problem(NamedTuple):
    layers: list[tuple[np.ndarray, np.ndarray]]  # weights (outputs, inputs) and biases
    batches: list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def problem():
    """Cross entropy of a tanh network on random examples, another batch at every step."""
    generator = np.random.default_rng(0)
    layers = [
        (generator.standard_normal((out, inputs)) / np.sqrt(inputs), 0.1 * generator.standard_normal(out))
        for inputs, out in itertools.pairwise(SIZES)
    ]
    batches = [
        (generator.standard_normal((BATCH_SIZE, SIZES[0])), generator.integers(0, SIZES[-1], BATCH_SIZE))
        for _ in range(STEPS)
    ]
    return Problem(layers, batches)


@pytest.fixture
def exact_norm(monkeypatch):
    """The squared norm of all gradients in float64."""

    def squared(groups, device=None, *, weight_adaptive=False):
        del device
        pairs = [(p, group.get("adaptive", False)) for group in groups for p in group["params"] if p.grad is not None]
        weighted = [p.grad * p.abs() if weight_adaptive and adaptive else p.grad for p, adaptive in pairs]
        return torch.stack([(g**2).sum() for g in weighted]).sum().reshape(1)

    monkeypatch.setattr("pytorch_optimizer.optimizer.sam.get_global_gradient_norm", squared)


# Ours ---------------------------------------------------------------------------------------------------------------


def loss_fn(params, inputs, labels):
    hidden = inputs
    for number, (weight, bias) in enumerate(params):
        hidden = hidden @ weight.T + bias
        hidden = jnp.tanh(hidden) if number < len(params) - 1 else hidden
    return optax.softmax_cross_entropy_with_integer_labels(hidden, labels).mean()


def optimizer():
    return optax.chain(optax.add_decayed_weights(WEIGHT_DECAY), optax.sgd(LEARNING_RATE, MOMENTUM))


def ours(problem, method, change_state=lambda state, number, gradients: state):
    """The parameters after every step."""
    params = jax.tree.map(jnp.asarray, problem.layers)
    state, base = method.init(params), optimizer()
    base_state = base.init(params)
    step = jax.jit(method.value_and_grad(loss_fn))
    path = []
    for number, batch in enumerate(problem.batches):
        clean = jax.grad(loss_fn)(params, *batch)
        _, gradients, state = step(params, state, *batch)
        state = change_state(state, number, clean)
        updates, base_state = base.update(gradients, base_state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path


def ours_transformed(problem, transformation):
    """The same for a transformation that applies the method itself."""
    params = jax.tree.map(jnp.asarray, problem.layers)
    state, path = transformation.init(params), []
    for batch in problem.batches:

        def grad_fn(w, batch=batch):
            return jax.grad(loss_fn)(w, *batch)

        updates, state = transformation.update(grad_fn(params), state, params, grad_fn=grad_fn)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path


# Theirs -------------------------------------------------------------------------------------------------------------


def network(problem):
    modules = []
    for weight, bias in problem.layers:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(weight))
            linear.bias.copy_(torch.tensor(bias))
        modules += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*modules[:-1])


def parameters(model):
    flat = [p.detach().numpy().copy() for p in model.parameters()]
    return list(zip(flat[::2], flat[1::2], strict=True))


def theirs(problem, build, step):
    """The parameters after every step: ``build(model)`` makes the optimizer, ``step(optimizer, closure)`` takes one."""
    model = network(problem)
    rival, path = build(model), []
    for inputs, labels in problem.batches:
        batch = (torch.tensor(inputs), torch.tensor(labels))

        def closure(batch=batch):
            rival.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            return loss

        step(rival, closure)
        path.append(parameters(model))
    return path


def gradient_first(rival, closure):
    """Their SAM wants the gradient at the parameters before ``step``."""
    closure()
    rival.step(closure)


def gradients_inside(rival, closure):
    """Their WSAM computes both gradients in ``step``."""
    rival.step(closure)


SGD = {"lr": LEARNING_RATE, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}


def assert_same_path(mine, its, tolerance):
    for step, (a, b) in enumerate(zip(mine, its, strict=True)):
        for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_allclose(left, right, rtol=0, atol=tolerance, err_msg=f"after step {step}")


def assert_differs(path, other):
    """That the comparison sees what the method does: another one ends elsewhere by far more than the tolerance."""
    leaves = zip(jax.tree.leaves(path[-1]), jax.tree.leaves(other[-1]), strict=True)
    assert max(np.abs(a - b).max() for a, b in leaves) > 1e-3


# The comparisons ----------------------------------------------------------------------------------------------------


def test_sgd(problem):
    """The harness itself, in all digits."""
    its = theirs(
        problem,
        lambda model: torch.optim.SGD(model.parameters(), **SGD),
        lambda rival, closure: rival.step(closure),
    )
    assert_same_path(ours(problem, sam.SGD()), its, EXACT)


def test_sam_with_the_norm_rounded_as_they_do(problem):
    its = theirs(
        problem,
        lambda model: pytorch_optimizer.SAM(model.parameters(), torch.optim.SGD, rho=RHO, **SGD),
        gradient_first,
    )
    assert_same_path(ours(problem, sam.SAM(RHO)), its, ROUNDED_NORM)


@pytest.mark.parametrize("foreach", [False, True], ids=["for each tensor", "foreach"])
@pytest.mark.parametrize("adaptive", [False, True], ids=["SAM", "adaptive SAM is ASAM with eta 0"])
@pytest.mark.usefixtures("exact_norm")
def test_sam_and_asam(problem, adaptive, foreach):
    method = sam.ASAM(RHO, eta=0.0) if adaptive else sam.SAM(RHO)
    its = theirs(
        problem,
        lambda model: pytorch_optimizer.SAM(
            model.parameters(), torch.optim.SGD, rho=RHO, adaptive=adaptive, foreach=foreach, **SGD
        ),
        gradient_first,
    )
    path = ours(problem, method)
    assert_same_path(path, its, EXACT)
    assert_differs(path, ours(problem, sam.SGD()))
    assert_differs(path, ours(problem, sam.SAM(RHO) if adaptive else sam.ASAM(RHO, eta=0.0)))


@pytest.mark.parametrize("adaptive", [False, True], ids=["SAM's ascent", "ASAM's ascent"])
@pytest.mark.usefixtures("exact_norm")
def test_gsam(problem, adaptive):
    alpha = 0.4

    def build(model):
        base = torch.optim.SGD(model.parameters(), **SGD)
        constant = torch.optim.lr_scheduler.ConstantLR(base, factor=1.0)
        radius = pytorch_optimizer.lr_scheduler.ProportionScheduler(
            constant, max_lr=LEARNING_RATE, min_lr=0.0, max_value=RHO, min_value=RHO
        )
        return pytorch_optimizer.GSAM(
            model.parameters(), base, model=model, rho_scheduler=radius, alpha=alpha, adaptive=adaptive
        )

    def step(rival, closure):
        rival.step(lambda: (None, torch.enable_grad()(closure)().detach()))

    path = ours(problem, sam.GSAM(RHO, alpha, adaptive=adaptive))
    assert_same_path(path, theirs(problem, build, step), EXACT)
    assert_differs(path, ours(problem, sam.GSAM(RHO, 0.0, adaptive=adaptive)))


@pytest.mark.usefixtures("exact_norm")
def test_wsam_as_one_gradient(problem):
    gamma = 0.8
    its = theirs(
        problem,
        lambda model: pytorch_optimizer.WSAM(
            model, model.parameters(), torch.optim.SGD, rho=RHO, gamma=gamma, decouple=False, **SGD
        ),
        gradients_inside,
    )
    path = ours(problem, sam.WSAM(RHO, gamma))
    assert_same_path(path, its, EXACT)
    assert_differs(path, ours(problem, sam.SAM(RHO)))


@pytest.mark.parametrize(
    ("base", "options", "mine"),
    [
        ("SGD", SGD, optimizer),
        ("Adam", {"lr": LEARNING_RATE}, lambda: optax.adam(LEARNING_RATE)),
    ],
    ids=["SGD", "Adam"],
)
@pytest.mark.usefixtures("exact_norm")
def test_wsam_beside_the_step_of_the_optimizer(problem, base, options, mine):
    gamma = 0.8
    its = theirs(
        problem,
        lambda model: pytorch_optimizer.WSAM(
            model, model.parameters(), getattr(torch.optim, base), rho=RHO, gamma=gamma, decouple=True, **options
        ),
        gradients_inside,
    )
    path = ours_transformed(problem, sam.decoupled_wsam(mine(), LEARNING_RATE, sam.WSAM(RHO, gamma)))
    assert_same_path(path, its, EXACT)
    assert_differs(path, ours(problem, sam.WSAM(RHO, gamma)))


@pytest.mark.parametrize("sigma", [0.7, 1.0])
@pytest.mark.usefixtures("exact_norm")
def test_friendly_sam(problem, sigma):
    """Their average is the first gradient after the first step, ours a tenth of it: ours is set to theirs there.

    The first ascent is along the first gradient in both.
    """

    def start_from_the_first(state, number, gradients):
        return sam.FriendlySAM().init(gradients)._replace(average=gradients) if number == 0 else state

    its = theirs(
        problem,
        lambda model: pytorch_optimizer.FriendlySAM(
            model.parameters(), torch.optim.SGD, rho=RHO, sigma=sigma, lmbda=0.9, **SGD
        ),
        gradient_first,
    )
    method = sam.FriendlySAM(RHO, sigma, 0.9, subtract="previous")
    path = ours(problem, method, start_from_the_first)
    assert_same_path(path, its, EXACT)
    assert_differs(path, ours(problem, method))
    updated = ours(problem, sam.FriendlySAM(RHO, sigma, 0.9), start_from_the_first)
    if sigma == 1:
        # g - (decay a + (1 - decay) g) = decay (g - a): which average is subtracted changes the length alone.
        assert_same_path(path, updated, EXACT)
    else:
        assert_differs(path, updated)


@pytest.mark.parametrize("foreach", [False, True], ids=["for each tensor", "foreach"])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.usefixtures("exact_norm")
def test_looksam(problem, k, foreach):
    """They compute the gradient at the parameters twice between two steps of SAM, which shows only in the time."""
    its = theirs(
        problem,
        lambda model: pytorch_optimizer.LookSAM(
            model.parameters(), torch.optim.SGD, rho=RHO, k=k, alpha=0.7, foreach=foreach, **SGD
        ),
        gradient_first,
    )
    path = ours(problem, sam.LookSAM(RHO, k, 0.7, per_tensor=True))
    assert_same_path(path, its, LOOKSAM if k > 1 else EXACT)
    if k > 1:
        assert_differs(path, ours(problem, sam.LookSAM(RHO, k, 0.7)))
        assert_differs(path, ours(problem, sam.SAMEveryK(RHO, k)))
