"""The architectures in PyTorch, with weights of ours. To be imported where torch is installed."""

import numpy as np
import torch
from torch import nn


def tensor(array):
    return torch.tensor(np.array(array))


def set_linear(layer, linear):
    set_weights(layer, linear.weight, linear.bias)


def set_weights(layer, weight, bias):
    with torch.no_grad():
        layer.weight.copy_(tensor(weight))
        if bias is not None:
            layer.bias.copy_(tensor(bias))


def set_convolution(layer, convolution):
    """Kernels are height x width x in x out here, out x in x height x width there."""
    set_weights(layer, np.transpose(np.asarray(convolution.kernel), (3, 2, 0, 1)), convolution.bias)


class TorchConvolution(nn.Sequential):
    def __init__(self, inputs, filters, size, stride=1):
        super().__init__(
            nn.Conv2d(inputs, filters, size, stride, size // 2, bias=False), nn.BatchNorm2d(filters, momentum=0.1)
        )
        self.values = 0

    def forward(self, x):
        x = super().forward(x)
        self.values = x.numel() // x.shape[1]
        return x


class TorchBlock(nn.Module):
    def __init__(self, inputs, branch, outputs, stride):
        super().__init__()
        self.branch = nn.ModuleList(branch)
        self.projection = None
        if stride != 1 or inputs != outputs:
            self.projection = TorchConvolution(inputs, outputs, 1, stride)

    def forward(self, x):
        y = x
        for index, layer in enumerate(self.branch):
            y = layer(torch.relu(y) if index else y)
        return torch.relu(y + (x if self.projection is None else self.projection(x)))


class TorchResNet(nn.Module):
    def __init__(self, width, classes, stages, bottleneck):
        super().__init__()
        if bottleneck:
            self.stem = nn.Sequential(TorchConvolution(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        else:
            self.stem = nn.Sequential(TorchConvolution(3, width, 3), nn.ReLU())
        blocks, inputs = [], width
        for stage, count in enumerate(stages):
            for block in range(count):
                filters, stride = width * 2**stage, 1 + (stage > 0 and block == 0)
                if bottleneck:
                    branch = [
                        TorchConvolution(inputs, filters, 1),
                        TorchConvolution(filters, filters, 3, stride),
                        TorchConvolution(filters, 4 * filters, 1),
                    ]
                else:
                    branch = [TorchConvolution(inputs, filters, 3, stride), TorchConvolution(filters, filters, 3)]
                outputs = 4 * filters if bottleneck else filters
                blocks.append(TorchBlock(inputs, branch, outputs, stride))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.last(self.blocks(self.stem(x)).mean((2, 3)))

    def layers(self):
        return [module for module in self.modules() if isinstance(module, TorchConvolution)]

    def set_weights(self, layers, statistics, last):
        """From ours in the order of use: convolutions with normalization, running statistics, and the last layer."""
        for (convolution, norm), layer, (mean, variance) in zip(self.layers(), layers, statistics, strict=True):
            set_convolution(convolution, layer.convolution)
            set_weights(norm, layer.normalization.scale, layer.normalization.bias)
            norm.running_mean.copy_(tensor(mean))
            norm.running_var.copy_(tensor(variance))
        set_linear(self.last, last)


class TorchViT(nn.Module):
    def __init__(self, model, classes):
        super().__init__()
        dimension, patch = len(model.class_token), model.patch
        channels = model.image_shape[2]
        self.embedding = nn.Conv2d(channels, dimension, patch, patch)
        kernel = np.asarray(model.embedding.weight).reshape(dimension, patch, patch, channels)
        set_weights(self.embedding, kernel.transpose(0, 3, 1, 2), model.embedding.bias)
        self.class_token = nn.Parameter(tensor(model.class_token))
        self.positions = nn.Parameter(tensor(model.positions))
        self.blocks = nn.Sequential(*(self.block(block, dimension) for block in model.blocks))
        self.norm, self.last = nn.LayerNorm(dimension), nn.Linear(dimension, classes)
        set_weights(self.norm, model.norm.weight, model.norm.bias)
        set_linear(self.last, model.last)

    @staticmethod
    def block(ours, dimension):
        heads = ours.attention.num_heads
        layer = nn.TransformerEncoderLayer(
            dimension, heads, len(ours.expand.bias), 0.0, nn.GELU(approximate="tanh"), batch_first=True, norm_first=True
        )
        inputs = [ours.attention.query_proj, ours.attention.key_proj, ours.attention.value_proj]
        with torch.no_grad():
            layer.self_attn.in_proj_weight.copy_(tensor(np.concatenate([linear.weight for linear in inputs])))
            layer.self_attn.in_proj_bias.copy_(tensor(np.concatenate([linear.bias for linear in inputs])))
        set_linear(layer.self_attn.out_proj, ours.attention.output_proj)
        set_linear(layer.linear1, ours.expand)
        set_linear(layer.linear2, ours.contract)
        set_linear(layer.norm1, ours.attention_norm)
        set_linear(layer.norm2, ours.mlp_norm)
        return layer

    def forward(self, images):
        x = self.embedding(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), 1, -1), x], 1) + self.positions
        return self.last(self.norm(self.blocks(x)[:, 0]))


def torch_vgg(model):
    """The layers up to the last pooling, and the linear layer, for pixels flattened with channels last."""
    layers = []
    for stage in model.stages:
        for convolution in stage:
            _, _, inputs, filters = convolution.kernel.shape
            layers += [nn.Conv2d(inputs, filters, 3, padding=1, dtype=torch.float64), nn.ReLU()]
            set_convolution(layers[-2], convolution)
        layers.append(nn.MaxPool2d(2))
    last = nn.Linear(model.last.in_features, model.last.out_features, dtype=torch.float64)
    set_linear(last, model.last)
    return nn.Sequential(*layers), last


def torch_bilstm(model):
    return TorchBiLSTM(model).double()


class TorchBiLSTM(nn.Module):
    """``nn.LSTM`` in both directions on packed sentences; its second bias stays 0."""

    def __init__(self, model):
        super().__init__()
        (words, features), hidden = model.words.shape, len(model.attention)
        self.words = nn.Embedding(words, features, dtype=torch.float64)
        self.lstm = nn.LSTM(features, hidden, bidirectional=True, batch_first=True, dtype=torch.float64)
        self.keys = nn.Linear(2 * hidden, hidden, bias=False, dtype=torch.float64)
        self.attention = nn.Linear(hidden, 1, bias=False, dtype=torch.float64)
        self.hidden = nn.Linear(2 * hidden, hidden, dtype=torch.float64)
        self.last = nn.Linear(hidden, model.last.out_features, dtype=torch.float64)
        for ours, ending in ((model.forward, ""), (model.backward, "_reverse")):
            named = {
                "weight_ih": ours.inputs,
                "weight_hh": ours.state,
                "bias_ih": ours.bias,
                "bias_hh": np.zeros(len(ours.bias)),
            }
            with torch.no_grad():
                for name, array in named.items():
                    getattr(self.lstm, f"{name}_l0{ending}").copy_(tensor(array))
        set_weights(self.words, model.words, None)
        set_weights(self.keys, model.keys, None)
        set_weights(self.attention, model.attention[None], None)
        set_linear(self.hidden, model.hidden)
        set_linear(self.last, model.last)

    def forward(self, words, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(self.words(words), lengths, batch_first=True)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        scores = self.attention(torch.tanh(self.keys(states)))[..., 0]
        scores = scores.masked_fill(torch.arange(states.shape[1]) >= lengths[:, None], -torch.inf)
        summary = (torch.softmax(scores, 1)[..., None] * states).sum(1)
        return self.last(torch.tanh(self.hidden(summary)))


class TorchTagger(nn.Module):
    """The encoder of ``TorchViT`` with four times as many hidden features, on words and sinusoids."""

    def __init__(self, model, positions):
        super().__init__()
        self.words, self.suffixes, self.positions = tensor(model.words), tensor(model.suffixes), tensor(positions)
        self.blocks = nn.ModuleList(self.block(block, self.words.shape[1]) for block in model.blocks)
        self.norm = nn.LayerNorm(self.words.shape[1], dtype=torch.float64)
        self.last = nn.Linear(self.words.shape[1], model.last.out_features, dtype=torch.float64)
        set_weights(self.norm, model.norm.weight, model.norm.bias)
        set_linear(self.last, model.last)

    @staticmethod
    def block(ours, dimension):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return TorchViT.block(ours, dimension)
        finally:
            torch.set_default_dtype(before)

    def forward(self, words, suffixes):
        x = self.words[words] + self.suffixes[suffixes] + self.positions[: words.shape[1]]
        for block in self.blocks:
            x = block(x, src_key_padding_mask=words == 0)
        return self.last(self.norm(x))
