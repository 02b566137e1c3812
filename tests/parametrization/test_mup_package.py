"""Agreement with the package of muP's authors, where it and torch are installed."""

import equinox as eqx
import jax
import numpy as np
import pytest

from widebasin.parametrization import multipliers

torch = pytest.importorskip("torch")
mup = pytest.importorskip("mup")

BASE, WIDTH = 16, 64
RATE, DECAY = 0.1, 0.01


def of_torch(width):
    """Its last layer divides by the width's growth itself: in the coordinates of ours, weights are smaller by that."""
    return torch.nn.Sequential(
        torch.nn.Linear(5, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, width),
        torch.nn.ReLU(),
        mup.MuReadout(width, 3),
    )


def factors():
    class Network(eqx.Module):
        """The same with the layers of Equinox, which draw as torch does."""

        layers: list[eqx.nn.Linear]

        def __init__(self, width, key):
            keys = jax.random.split(key, 3)
            sizes = ((5, width), (width, width), (width, 3))
            self.layers = [eqx.nn.Linear(*size, key=one) for size, one in zip(sizes, keys, strict=True)]

    shapes = [eqx.filter_eval_shape(Network, width, jax.random.key(0)) for width in (WIDTH, BASE)]
    return multipliers(*shapes)


def scaled_model():
    """The model of the package, and by what its own rule multiplies what torch has drawn."""
    torch.manual_seed(0)
    model = of_torch(WIDTH)
    drawn = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    mup.set_base_shapes(model, of_torch(BASE), delta=of_torch(2 * BASE))
    rescaled = {
        name: float((parameter.detach() / drawn[name]).median()) for name, parameter in model.named_parameters()
    }
    return model, rescaled


# Name in torch -> ours; the growth by which the package's last layer divides the outputs that its weights give.
NAMES = {
    "0.weight": (0, "weight", 1.0),
    "0.bias": (0, "bias", 1.0),
    "2.weight": (1, "weight", 1.0),
    "2.bias": (1, "bias", 1.0),
    "4.weight": (2, "weight", WIDTH / BASE),
    "4.bias": (2, "bias", 1.0),
}


def ours(tree, name):
    layer, kind, _ = NAMES[name]
    return getattr(tree.layers[layer], kind)


@pytest.mark.parametrize("name", NAMES)
def test_initialization_is_that_of_the_package(name):
    _, rescaled = scaled_model()
    # Weights of the last layer count as divided by the growth.
    assert ours(factors().initial, name) == pytest.approx(rescaled[name] / NAMES[name][2], rel=1e-5)


@pytest.mark.parametrize(("optimizer", "power"), [("sgd", 2), ("adam", 1)])
@pytest.mark.parametrize("name", NAMES)
def test_learning_rates_and_weight_decay_are_those_of_the_package(name, optimizer, power):
    """A step in ``v`` with ``w = v / k`` is ``1 / k^2`` of it in ``w`` for SGD, and ``1 / k`` for Adam."""
    model, _ = scaled_model()
    make = {"sgd": mup.MuSGD, "adam": mup.MuAdam}[optimizer]
    groups = make(model.parameters(), lr=RATE, weight_decay=DECAY).param_groups
    wanted = dict(model.named_parameters())[name]
    (group,) = [one for one in groups if any(parameter is wanted for parameter in one["params"])]
    found = ours(getattr(factors(), optimizer), name)
    assert found == pytest.approx(group["lr"] / RATE / NAMES[name][2] ** power, rel=1e-9)
    # What a step takes off weights by decay is the same for all layers.
    np.testing.assert_allclose(group["lr"] * group["weight_decay"], RATE * DECAY, rtol=1e-9)
