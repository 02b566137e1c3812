"""Agreement with the package of muP's authors, ``mup`` 1.0.0: its numbers, and itself where it is installed."""

import equinox as eqx
import jax
import numpy as np
import pytest

from widebasin.parametrization import multipliers

BASE, WIDTH = 16, 64
RATE, DECAY = 0.1, 0.01
# What the package does to a perceptron of torch at four times its base width: the factor of what torch has drawn, and
# those of the learning rates of SGD and Adam. Its last layer divides its outputs by the growth, so that its weights are
# larger by that than ours.
PACKAGE = {
    "0.weight": (1.0, 4.0, 1.0),
    "0.bias": (1.0, 4.0, 1.0),
    "2.weight": (1.0, 1.0, 0.25),
    "2.bias": (2.0, 4.0, 1.0),
    "4.weight": (2.0, 4.0, 1.0),
    "4.bias": (2.0, 1.0, 1.0),
}


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


@pytest.mark.parametrize("name", PACKAGE)
def test_factors_are_those_of_the_package(name):
    """A weight ``w = v / k`` has ``1 / k`` of the factor of ``v``; rates have ``1 / k^2`` (SGD), ``1 / k`` (Adam)."""
    layer, kind = name.split(".")
    found = [getattr(tree.layers[int(layer) // 2], kind) for tree in factors()[:3]]
    divided = WIDTH / BASE if name == "4.weight" else 1.0
    initial, sgd, adam = PACKAGE[name]
    np.testing.assert_allclose(found, [initial / divided, sgd / divided**2, adam / divided], rtol=1e-12)


def test_the_numbers_are_those_that_the_package_gives():
    torch, mup = pytest.importorskip("torch"), pytest.importorskip("mup")

    def network(width):
        first, second, last = torch.nn.Linear(5, width), torch.nn.Linear(width, width), mup.MuReadout(width, 3)
        return torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), last)

    torch.manual_seed(0)
    model = network(WIDTH)
    drawn = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    mup.set_base_shapes(model, network(BASE), delta=network(2 * BASE))
    found = {name: [float((own.detach() / drawn[name]).median())] for name, own in model.named_parameters()}
    for make in (mup.MuSGD, mup.MuAdam):
        for group in make(model.parameters(), lr=RATE, weight_decay=DECAY).param_groups:
            for name, own in model.named_parameters():
                if any(own is other for other in group["params"]):
                    found[name].append(group["lr"] / RATE)
            # What a step takes off weights by decay is the same for all layers.
            np.testing.assert_allclose(group["lr"] * group["weight_decay"], RATE * DECAY, rtol=1e-9)
    for name, wanted in PACKAGE.items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5)
