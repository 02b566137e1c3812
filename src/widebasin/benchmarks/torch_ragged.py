"""The networks of sentences and graphs in PyTorch, from the parameters of ours. Needs PyTorch."""

from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from widebasin.benchmarks.torch_images import encoder_block, filled, linear_of
from widebasin.models import LSTM, BiLSTM, GraphConvolution, Tagger
from widebasin.models.tagger import UNKNOWN, sinusoids

Sentences = tuple[Any, Any]
"""Numbers of words, padded to the longest sentence of the batch, and how many every sentence has."""


def sentences(inputs: Any) -> Sentences:
    """A batch padded to its longest sentence."""
    words = inputs["words"] if isinstance(inputs, dict) else inputs
    lengths = (words > 0).sum(1)
    return words[:, : int(lengths.max())].long(), lengths


def graphs(inputs: Any) -> dict[str, Any]:
    """A packed batch: the nodes of all graphs one after the other, and the two directions of every edge."""
    sizes = inputs["sizes"].long()
    there = torch.arange(inputs["nodes"].shape[1]) < sizes[:, None]
    first = torch.cumsum(sizes, 0) - sizes
    edges = (inputs["edges"].long() + first[:, None, None])[inputs["edges"][..., 0] >= 0]
    source = torch.cat([edges[:, 0], edges[:, 1]])
    target = torch.cat([edges[:, 1], edges[:, 0]])
    scale = (1.0 + torch.bincount(target, minlength=int(sizes.sum()))).rsqrt()
    return {
        "nodes": inputs["nodes"][there].float(),
        "graph": torch.repeat_interleave(torch.arange(len(sizes)), sizes),
        "sizes": sizes.float(),
        "source": source,
        "target": target,
        "weights": (scale[source] * scale[target])[:, None],
        "own": (scale * scale)[:, None],
    }


def tags_loss(logits: Any, tags: Any) -> Any:
    """The mean cross entropy over the words of a batch."""
    return functional.cross_entropy(logits.flatten(0, 1), tags[:, : logits.shape[1]].flatten(), ignore_index=-1)


def tasks_loss(logits: Any, labels: Any) -> Any:
    """The mean cross entropy over the known labels of a batch, 0 or 1."""
    known = labels >= 0
    return functional.binary_cross_entropy_with_logits(logits[known], labels[known].float())


class TorchBiLSTM(nn.Module):
    """``models.BiLSTM`` around ``nn.LSTM`` on packed sequences."""

    def __init__(self, ours: BiLSTM, dropout: float = 0.0, word_dropout: float = 0.0) -> None:
        super().__init__()
        self.words = nn.Embedding.from_pretrained(torch.tensor(np.asarray(ours.words)), freeze=False)
        width = ours.forward.state.shape[1]
        self.lstm = nn.LSTM(ours.words.shape[1], width, batch_first=True, bidirectional=True)
        for direction, suffix in ((ours.forward, ""), (ours.backward, "_reverse")):
            _fill_direction(self.lstm, direction, suffix)
        self.keys = nn.Parameter(torch.tensor(np.asarray(ours.keys)))
        self.attention = nn.Parameter(torch.tensor(np.asarray(ours.attention)))
        self.hidden, self.last = linear_of(ours.hidden), linear_of(ours.last)
        self.dropout, self.word_dropout = nn.Dropout(dropout), word_dropout

    def forward(self, batch: Sentences) -> Any:
        """The logits of every sentence."""
        words, lengths = batch
        x = self.dropout(self.words(_words_dropped(words, self.word_dropout, self.training)))
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        scores = torch.tanh(states @ self.keys.T) @ self.attention
        weights = torch.softmax(scores.masked_fill(words == 0, torch.finfo(scores.dtype).min), 1)
        summary = self.dropout((weights[:, None] @ states)[:, 0])
        return self.last(self.dropout(torch.tanh(self.hidden(summary))))


class TorchTagger(nn.Module):
    """``models.Tagger`` of words alone, of ``nn.TransformerEncoderLayer``."""

    def __init__(self, ours: Tagger, positions: int, dropout: float = 0.0, word_dropout: float = 0.0) -> None:
        super().__init__()
        self.words = nn.Embedding.from_pretrained(torch.tensor(np.asarray(ours.words)), freeze=False)
        self.places: Any = torch.tensor(np.asarray(sinusoids(positions, ours.words.shape[1]), np.float32))
        self.blocks = nn.ModuleList([encoder_block(block, dropout) for block in ours.blocks])
        self.norm = filled(nn.LayerNorm(ours.words.shape[1]), ours.norm.weight, ours.norm.bias)
        self.last = linear_of(ours.last)
        self.dropout, self.word_dropout = nn.Dropout(dropout), word_dropout

    def forward(self, batch: Sentences) -> Any:
        """The logits of every word."""
        words, _ = batch
        missing = words == 0
        tokens = self.words(_words_dropped(words, self.word_dropout, self.training)) + self.places[: words.shape[1]]
        tokens = self.dropout(tokens)
        for block in self.blocks:
            tokens = block(tokens, src_key_padding_mask=missing)
        return self.last(self.norm(tokens))


class TorchGraphConvolution(nn.Module):
    """``models.GraphConvolution`` on packed batches."""

    def __init__(self, ours: GraphConvolution, dropout: float = 0.0) -> None:
        super().__init__()
        self.scale: Any = torch.tensor(ours.scale)
        self.first, self.last = linear_of(ours.first), linear_of(ours.last)
        self.hidden = nn.ModuleList(
            nn.Sequential(
                linear_of(one), nn.ReLU(), nn.Dropout(dropout), linear_of(two), nn.ReLU(), nn.Dropout(dropout)
            )
            for one, two in ours.hidden
        )
        self.norms = nn.ModuleList(filled(nn.LayerNorm(list(n.shape)), n.weight, n.bias) for n in ours.norms)

    def forward(self, batch: dict[str, Any]) -> Any:
        """The logits of every graph."""
        x = self.first(batch["nodes"] / self.scale)
        for hidden, norm in zip(self.hidden, self.norms, strict=True):
            message = hidden(x)
            summed = x + batch["own"] * message
            x = norm(summed.index_add(0, batch["target"], message[batch["source"]] * batch["weights"]))
        sums = torch.zeros(len(batch["sizes"]), x.shape[1]).index_add(0, batch["graph"], x)
        return self.last(sums / batch["sizes"].clamp(min=1)[:, None])


def _fill_direction(lstm: Any, ours: LSTM, suffix: str) -> None:
    """Parameters of one direction; the second bias is 0 and stays, as ours has one."""
    with torch.no_grad():
        getattr(lstm, f"weight_ih_l0{suffix}").copy_(torch.tensor(np.asarray(ours.inputs)))
        getattr(lstm, f"weight_hh_l0{suffix}").copy_(torch.tensor(np.asarray(ours.state)))
        getattr(lstm, f"bias_ih_l0{suffix}").copy_(torch.tensor(np.asarray(ours.bias)))
        second = getattr(lstm, f"bias_hh_l0{suffix}").zero_()
    second.requires_grad_(False)


def _words_dropped(words: Any, rate: float, training: bool) -> Any:
    if not training or not rate:
        return words
    return words.masked_fill((torch.rand(words.shape) < rate) & (words > 0), UNKNOWN)
