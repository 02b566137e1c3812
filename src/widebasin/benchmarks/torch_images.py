"""The vision workloads' networks in PyTorch, channels last, with the parameters of our networks. Needs PyTorch."""

from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from widebasin.benchmarks.torch_sam import torch_mlp
from widebasin.models import MLP, VGG11, BatchNormalization, Convolution, ResidualBlock, ResNet, ViT

PADDING = 4


def network_of(model: MLP | ResNet | ViT | VGG11, device: str = "cpu") -> Any:
    """The network in PyTorch with the parameters of ``model``, for images ``[batch, channels, height, width]``.

    Convolutions use channels last as memory format.
    """
    if isinstance(model, MLP):
        weights, biases = ([np.asarray(array) for array in arrays] for arrays in (model.weights, model.biases))
        network: Any = nn.Sequential(nn.Flatten(), *torch_mlp(weights, biases))
    elif isinstance(model, VGG11):
        network = _vgg(model)
    else:
        network = _ResidualNetwork(model) if isinstance(model, ResNet) else _VisionTransformer(model)
    return network.to(device, memory_format=torch.channels_last)


def normalized(images: Any) -> Any:
    """Bytes ``[batch, height, width, channels]`` divided by 255, in the networks' format, without copying."""
    return (images.float() / 255).permute(0, 3, 1, 2)


def cropped_and_flipped(images: Any) -> Any:
    """Random crops of images padded with 4 zeros, half of them mirrored, then ``normalized``."""
    count, height, width, _ = images.shape
    device = images.device
    padded = functional.pad(images, (0, 0, PADDING, PADDING, PADDING, PADDING))
    rows = torch.randint(2 * PADDING + 1, (count, 1), device=device) + torch.arange(height, device=device)
    columns = torch.randint(2 * PADDING + 1, (count, 1), device=device) + torch.arange(width, device=device)
    columns = torch.where(torch.rand(count, 1, device=device) < 0.5, columns.flip(1), columns)
    examples = torch.arange(count, device=device)[:, None, None]
    return normalized(padded[examples, rows[:, :, None], columns[:, None, :]])


def filled(layer: Any, weight: Any, bias: Any = None) -> Any:
    """A layer with its parameters replaced by these."""
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.asarray(weight)))
        if bias is not None:
            layer.bias.copy_(torch.tensor(np.asarray(bias)))
    return layer


def linear_of(ours: Any) -> Any:
    """A linear layer with the parameters of ours."""
    return filled(nn.Linear(ours.in_features, ours.out_features), ours.weight, ours.bias)


def _convolution(ours: Convolution) -> Any:
    size, _, inputs, outputs = ours.kernel.shape
    layer = nn.Conv2d(inputs, outputs, size, ours.stride, size // 2, bias=ours.bias is not None)
    return filled(layer, np.asarray(ours.kernel).transpose(3, 2, 0, 1), ours.bias)


def _normalization(ours: BatchNormalization) -> Any:
    return filled(nn.BatchNorm2d(len(ours.scale)), ours.scale, ours.bias)


def _normalized_convolution(ours: Any) -> Any:
    return nn.Sequential(_convolution(ours.convolution), _normalization(ours.normalization))


class _Block(nn.Module):
    def __init__(self, ours: ResidualBlock) -> None:
        super().__init__()
        layers = [layer for part in ours.branch for layer in (_normalized_convolution(part), nn.ReLU(inplace=True))]
        self.branch = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Identity() if ours.projection is None else _normalized_convolution(ours.projection)

    def forward(self, x: Any) -> Any:
        return functional.relu(self.branch(x) + self.shortcut(x), inplace=True)


class _ResidualNetwork(nn.Module):
    def __init__(self, ours: ResNet) -> None:
        super().__init__()
        self.stem = nn.Sequential(_normalized_convolution(ours.stem), nn.ReLU(inplace=True))
        if ours.pool:
            self.stem.append(nn.MaxPool2d(3, 2, 1))
        self.blocks = nn.Sequential(*map(_Block, ours.blocks))
        self.last = linear_of(ours.last)

    def forward(self, x: Any) -> Any:
        return self.last(self.blocks(self.stem(x)).mean((2, 3)))


def _vgg(ours: VGG11) -> Any:
    layers: list[Any] = []
    for stage in ours.stages:
        for convolution in stage:
            layers += [_convolution(convolution), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(2))
    # A single pixel is left, so the order of pixels and channels does not matter.
    return nn.Sequential(*layers, nn.Flatten(), linear_of(ours.last))


class _VisionTransformer(nn.Module):
    def __init__(self, ours: ViT) -> None:
        super().__init__()
        channels = ours.image_shape[2]
        # A convolution whose stride is its size; the pixels of a patch are rows of columns of channels.
        kernel = np.asarray(ours.embedding.weight).reshape(-1, ours.patch, ours.patch, channels).transpose(0, 3, 1, 2)
        embedding = nn.Conv2d(channels, len(kernel), ours.patch, ours.patch)
        self.embedding = filled(embedding, kernel, ours.embedding.bias)
        self.class_token = nn.Parameter(torch.tensor(np.asarray(ours.class_token)))
        self.positions = nn.Parameter(torch.tensor(np.asarray(ours.positions)))
        self.blocks = nn.Sequential(*map(encoder_block, ours.blocks))
        self.norm = filled(nn.LayerNorm(len(kernel)), ours.norm.weight, ours.norm.bias)
        self.last = linear_of(ours.last)

    def forward(self, x: Any) -> Any:
        tokens = self.embedding(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), 1, -1), tokens], 1) + self.positions
        return self.last(self.norm(self.blocks(tokens)[:, 0]))


def encoder_block(ours: Any, dropout: float = 0.0) -> Any:
    """A block of an encoder with the parameters of ours; dropout is not of the attention's weights."""
    attention = ours.attention
    dimension = ours.expand.in_features
    layer = nn.TransformerEncoderLayer(
        dimension,
        attention.num_heads,
        ours.expand.out_features,
        dropout=dropout,
        activation=nn.GELU(approximate="tanh"),
        batch_first=True,
        norm_first=True,
    )
    layer.self_attn.dropout = 0.0
    projections = (attention.query_proj, attention.key_proj, attention.value_proj)
    with torch.no_grad():
        layer.self_attn.in_proj_weight.copy_(torch.tensor(np.concatenate([one.weight for one in projections])))
        layer.self_attn.in_proj_bias.copy_(torch.tensor(np.concatenate([one.bias for one in projections])))
    filled(layer.self_attn.out_proj, attention.output_proj.weight, attention.output_proj.bias)
    for theirs, mine in (
        (layer.linear1, ours.expand),
        (layer.linear2, ours.contract),
        (layer.norm1, ours.attention_norm),
        (layer.norm2, ours.mlp_norm),
    ):
        filled(theirs, mine.weight, mine.bias)
    return layer
