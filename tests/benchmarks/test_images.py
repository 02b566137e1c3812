"""The contenders do the same work: one step of SAM from the same parameters ends at the same parameters."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.benchmarks import images
from widebasin.benchmarks.images import Case
from widebasin.benchmarks.synthetic import random_images
from widebasin.models import VGG11, ResidualBlock, ResNet, ViT
from widebasin.models.resnet import NormalizedConvolution
from widebasin.training import Network

SMALL = {"batch_size": 8, "steps": 1}
MLP_CASE = Case("mnist-mlp", 4, (28, 28, 1), **SMALL)


def test_random_images_are_seen_as_pixels_over_255():
    dataset = random_images(50, (4, 6, 3), classes=7)
    assert dataset.inputs.shape == (50, 4, 6, 3)
    assert dataset.inputs.dtype == np.uint8
    assert set(dataset.targets.tolist()) == set(range(7))
    np.testing.assert_allclose(dataset.prepared(dataset.inputs[:2]), dataset.inputs[:2] / 255, atol=1e-7)


@pytest.mark.parametrize("case", [MLP_CASE, Case("digits-resnet", 2, (8, 8, 1), **SMALL)], ids=lambda c: c.workload)
def test_torch_takes_the_step_that_the_program_takes(case, monkeypatch):
    torch = pytest.importorskip("torch")
    from widebasin.benchmarks.torch_images import network_of

    monkeypatch.setattr(images, "RHO", 0.3)
    ours = case.program("sam", "float32")
    rival = images.torch_training(ours, threads=1)

    def parameters():
        model = eqx.combine(ours.params, ours.program.problem.plain.network.static)
        return [p.detach() for p in network_of(model).parameters()]

    before, loss = parameters(), ours.epoch()["train_loss"][0]
    # The only batch has all examples; in which order does not matter.
    assert rival.epoch(torch.arange(case.batch_size)[None]) == pytest.approx(loss, rel=1e-5)
    for start, mine, its in zip(before, parameters(), rival.params, strict=True):
        moved = float((mine - start).norm())
        assert moved > 0
        assert float((mine - its.detach()).norm()) < 1e-3 * moved + 1e-6


def test_torch_sgd_does_not_ascend(monkeypatch):
    torch = pytest.importorskip("torch")
    ours = MLP_CASE.program("sgd", "float32")
    rival = images.torch_training(ours, threads=1)
    monkeypatch.setattr(rival, "_ascend", lambda: pytest.fail("SGD takes one gradient"))
    ours.epoch()
    rival.epoch(torch.arange(MLP_CASE.batch_size)[None])
    np.testing.assert_allclose(rival.model[1].weight.detach(), ours.params.weights[0], atol=1e-5)


def bottlenecks(key):
    stem = NormalizedConvolution(3, 2, 7, 2, key=key)
    return ResNet(stem, ResidualBlock.bottleneck, (1, 1), 5, pool=True, key=key)


@pytest.mark.parametrize(
    "build",
    [
        bottlenecks,
        lambda key: ViT(8, 5, image_size=16, depth=1, heads=2, key=key),
        lambda key: VGG11(5, 2, image_size=16, key=key),
    ],
    ids=["bottlenecks behind pooling", "ViT", "VGG-11"],
)
def test_networks_are_the_same_in_torch_at_any_parameters(build):
    torch = pytest.importorskip("torch")
    from widebasin.benchmarks.torch_images import network_of, normalized

    network = Network(build)
    generator = np.random.default_rng(0)
    # Not as they start: the last scale of a bottleneck is 0 there, and biases are.
    params = jax.tree.map(lambda leaf: jnp.asarray(generator.normal(0, 0.3, leaf.shape), leaf.dtype), network.shapes)
    state = [jnp.zeros(leaf.shape, leaf.dtype) for leaf in network.state_shapes]
    batch = random_images(4, (16, 16, 3), 5).inputs
    logits, _ = jax.jit(functools.partial(network.outputs, training=True))(params, state, jnp.asarray(batch) / 255)
    rival = network_of(eqx.combine(params, network.static))
    assert float(np.ptp(logits, axis=0).min()) > 1e-3
    np.testing.assert_allclose(rival(normalized(torch.tensor(batch))).detach(), logits, atol=1e-4)
    assert sum(p.numel() for p in rival.parameters()) == network.num_params


def test_torch_crops_are_windows_of_the_padded_image_and_half_are_mirrored():
    torch = pytest.importorskip("torch")
    from widebasin.benchmarks.torch_images import PADDING, cropped_and_flipped

    image = random_images(1, (6, 6, 3), 2).inputs[0]
    torch.manual_seed(0)
    crops = cropped_and_flipped(torch.tensor(image).expand(400, 6, 6, 3)).permute(0, 2, 3, 1).numpy()
    padded = np.pad(image, ((PADDING, PADDING), (PADDING, PADDING), (0, 0))) / np.float32(255)
    places = range(2 * PADDING + 1)
    windows = {
        (padded[row : row + 6, column : column + 6][:, ::direction]).tobytes(): direction
        for row in places
        for column in places
        for direction in (1, -1)
    }
    directions = [windows[crop.tobytes()] for crop in np.ascontiguousarray(crops)]
    assert len({crop.tobytes() for crop in np.ascontiguousarray(crops)}) > len(windows) / 2
    # Within five standard deviations of 200.
    assert 150 < directions.count(-1) < 250


@pytest.mark.slow
@pytest.mark.parametrize(("missing", "precision"), [("", "bfloat16"), ("torch not installed", "float32")])
def test_rows_are_those_of_both_methods_and_frameworks(monkeypatch, missing, precision):
    if not missing:
        pytest.importorskip("torch")
    for name, value in {
        "CASES": {},
        "CASES_ELSEWHERE": (MLP_CASE,),
        "PRECISIONS": {"cpu": (precision,)},
        "torch_missing": lambda: missing,
    }.items():
        monkeypatch.setattr(images, name, value)
    found = images.measure(1)
    rivals = ["PyTorch"] if missing else list(images._torch_contenders())
    assert [row.what for row in found.rows] == [
        f"mnist-mlp, h = 4, {method}, {name}" for method in ("SGD", "SAM") for name in ["widebasin", *rivals]
    ]
    for row in found.rows:
        more = dict(row.more)
        assert more["precision"] == precision
        if missing and row.what.endswith("PyTorch"):
            assert (row.timing, row.missing) == (None, missing)
        else:
            rate = float(more["images/s"].replace(",", ""))
            assert rate == pytest.approx(MLP_CASE.batch_size / row.timing.median, rel=1e-3)
