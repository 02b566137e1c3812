"""Architectures as Equinox modules for one example, with width as an argument; use ``jax.vmap`` for batches."""

from widebasin.models.actor_critic import ActorCritic
from widebasin.models.applied import Applied, from_haiku, from_linen, from_nnx
from widebasin.models.bilstm import LSTM, BiLSTM
from widebasin.models.convolution import Convolution, is_convolutional
from widebasin.models.encoder import EncoderBlock
from widebasin.models.graph_convolution import GraphConvolution
from widebasin.models.linear import LinearNetwork, LinearRegression
from widebasin.models.mlp import MLP
from widebasin.models.nature import NatureActorCritic
from widebasin.models.normalization import BATCH_AXIS, BatchNormalization
from widebasin.models.parameters import count_parameters
from widebasin.models.resnet import ResidualBlock, ResNet
from widebasin.models.tagger import Tagger
from widebasin.models.vgg import VGG11
from widebasin.models.vit import ViT

__all__ = [
    "BATCH_AXIS",
    "LSTM",
    "MLP",
    "VGG11",
    "ActorCritic",
    "Applied",
    "BatchNormalization",
    "BiLSTM",
    "Convolution",
    "EncoderBlock",
    "GraphConvolution",
    "LinearNetwork",
    "LinearRegression",
    "NatureActorCritic",
    "ResNet",
    "ResidualBlock",
    "Tagger",
    "ViT",
    "count_parameters",
    "from_haiku",
    "from_linen",
    "from_nnx",
    "is_convolutional",
]
