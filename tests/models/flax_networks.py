"""The architectures in Flax, and weights of ours in its form."""

import flax.linen as nn
import jax.numpy as jnp


class FlaxConvolution(nn.Module):
    filters: int
    size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x, training):
        edge = self.size // 2
        x = nn.Conv(
            self.filters,
            (self.size, self.size),
            strides=self.stride,
            padding=[(edge, edge)] * 2,
            use_bias=False,
            name="convolution",
        )(x)
        return nn.BatchNorm(
            use_running_average=not training, momentum=0.9, epsilon=1e-5, use_fast_variance=False, name="normalization"
        )(x)


class FlaxResNet(nn.Module):
    """Basic blocks behind a 3 x 3 stem, or bottlenecks behind a 7 x 7 one with stride and pooling."""

    width: int
    classes: int
    stages: tuple[int, ...]
    bottleneck: bool

    @nn.compact
    def __call__(self, x, training):
        layers = 0

        def convolution(x, *arguments):
            nonlocal layers
            layers += 1
            return FlaxConvolution(*arguments, name=f"layer_{layers - 1}")(x, training)

        x = nn.relu(convolution(x, self.width, *((7, 2) if self.bottleneck else (3, 1))))
        if self.bottleneck:
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=[(1, 1), (1, 1)])
        for stage, blocks in enumerate(self.stages):
            filters = self.width * 2**stage
            for block in range(blocks):
                stride = 2 if block == 0 and stage > 0 else 1
                y = x
                if self.bottleneck:
                    y = nn.relu(convolution(y, filters, 1))
                    y = nn.relu(convolution(y, filters, 3, stride))
                    y = convolution(y, 4 * filters, 1)
                else:
                    y = nn.relu(convolution(y, filters, 3, stride))
                    y = convolution(y, filters, 3)
                if x.shape != y.shape:
                    x = convolution(x, y.shape[-1], 1, stride)
                x = nn.relu(x + y)
        return nn.Dense(self.classes, name="last")(x.mean((1, 2)))


def flax_resnet_variables(layers, statistics, last):
    """From ours in the order of use: convolutions with normalization, running statistics, and the last layer."""
    names = [f"layer_{index}" for index in range(len(layers))]
    params = {
        name: {
            "convolution": {"kernel": layer.convolution.kernel},
            "normalization": {"scale": layer.normalization.scale, "bias": layer.normalization.bias},
        }
        for name, layer in zip(names, layers, strict=True)
    }
    batch_stats = {
        name: {"normalization": {"mean": jnp.asarray(mean), "var": jnp.asarray(variance)}}
        for name, (mean, variance) in zip(names, statistics, strict=True)
    }
    return {"params": params | {"last": _dense(last)}, "batch_stats": batch_stats}


class FlaxViT(nn.Module):
    dimension: int
    classes: int
    patch: int
    depth: int
    heads: int

    @nn.compact
    def __call__(self, images):
        x = nn.Conv(self.dimension, (self.patch, self.patch), strides=self.patch, padding="VALID", name="embedding")(
            images
        )
        x = x.reshape(len(x), -1, self.dimension)
        token = self.param("class_token", nn.initializers.zeros, (self.dimension,))
        x = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, self.dimension)), x], axis=1)
        x = x + self.param("positions", nn.initializers.zeros, x.shape[1:])
        for index in range(self.depth):
            y = nn.LayerNorm(epsilon=1e-5, name=f"attention_norm_{index}")(x)
            x = x + nn.MultiHeadDotProductAttention(self.heads, name=f"attention_{index}")(y)
            y = nn.LayerNorm(epsilon=1e-5, name=f"mlp_norm_{index}")(x)
            y = nn.gelu(nn.Dense(2 * self.dimension, name=f"expand_{index}")(y))
            x = x + nn.Dense(self.dimension, name=f"contract_{index}")(y)
        return nn.Dense(self.classes, name="last")(nn.LayerNorm(epsilon=1e-5, name="norm")(x[:, 0]))


def flax_vit_variables(model):
    dimension, patch = len(model.class_token), model.patch
    kernel = model.embedding.weight.reshape(dimension, patch, patch, -1).transpose(1, 2, 3, 0)
    params = {
        "embedding": {"kernel": kernel, "bias": model.embedding.bias},
        "class_token": model.class_token,
        "positions": model.positions,
        "norm": _layer_norm(model.norm),
        "last": _dense(model.last),
    }
    for index, block in enumerate(model.blocks):
        attention, heads = block.attention, block.attention.num_heads

        def projection(linear, heads=heads):
            return {
                "kernel": linear.weight.T.reshape(dimension, heads, dimension // heads),
                "bias": linear.bias.reshape(heads, dimension // heads),
            }

        out = attention.output_proj
        params |= {
            f"attention_norm_{index}": _layer_norm(block.attention_norm),
            f"attention_{index}": {
                "query": projection(attention.query_proj),
                "key": projection(attention.key_proj),
                "value": projection(attention.value_proj),
                "out": {"kernel": out.weight.T.reshape(heads, dimension // heads, dimension), "bias": out.bias},
            },
            f"mlp_norm_{index}": _layer_norm(block.mlp_norm),
            f"expand_{index}": _dense(block.expand),
            f"contract_{index}": _dense(block.contract),
        }
    return {"params": params}


class FlaxVGG(nn.Module):
    """``filters`` of the convolutions, 0 for pooling."""

    filters: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, x):
        for index, filters in enumerate(self.filters):
            if filters:
                x = nn.relu(nn.Conv(filters, (3, 3), padding="SAME", name=f"layer_{index}")(x))
            else:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
        return nn.Dense(self.classes, name="last")(x.reshape(len(x), -1))


def flax_vgg_variables(model):
    """The filters, for the module, and the variables."""
    filters, params = [], {"last": _dense(model.last)}
    for stage in model.stages:
        for convolution in stage:
            params[f"layer_{len(filters)}"] = {"kernel": convolution.kernel, "bias": convolution.bias}
            filters.append(len(convolution.bias))
        filters.append(0)
    return tuple(filters), {"params": params}


def _dense(linear):
    return {"kernel": linear.weight.T, "bias": linear.bias}


def _layer_norm(norm):
    return {"scale": norm.weight, "bias": norm.bias}
