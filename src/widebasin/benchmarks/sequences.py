"""How many words per second networks of sentences train on: here, and in PyTorch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np

from widebasin.benchmarks import ragged
from widebasin.benchmarks.benchmark import Benchmark
from widebasin.benchmarks.ragged import Case
from widebasin.benchmarks.synthetic_ragged import LINES_LENGTHS, SST2_LENGTHS, phrases_like, sentences_like
from widebasin.data import Buckets, Dataset
from widebasin.models import BiLSTM, Tagger
from widebasin.training import CLASSIFICATION, TAGGING, Objective, Recipe


class Sentences(Case):
    """What cases of sentences have in common: words are counted."""

    unit: ClassVar[str] = "words"

    @property
    def sizes(self) -> np.ndarray:
        """Numbers of words, 0 is none."""
        return (jax.tree.leaves(self.dataset.inputs)[0] > 0).sum(1)

    def counts(self) -> np.ndarray:
        """Words, without padding."""
        return self.sizes


@dataclass(frozen=True, eq=False)
class LSTMCase(Sentences):
    """``sst2-lstm`` on phrases with the lengths of GLUE's."""

    width: int = 37
    batch_size: int = 64
    steps: int = 20
    rates: Mapping[str, float] = field(default_factory=lambda: {"dropout": 0.5, "word_dropout": 0.1})
    vocabulary: int = 13_521
    name: ClassVar[str] = "BiLSTM"
    objective: ClassVar[Objective] = CLASSIFICATION

    @property
    def recipe(self) -> Recipe:
        """See ``Case``."""
        return Recipe(1, self.batch_size, 0.1, "constant", weight_decay=3e-6, clip=5.0)

    @cached_property
    def dataset(self) -> Dataset:
        """See ``Case``; arrays have 60 positions as those of the workload."""
        return phrases_like(SST2_LENGTHS, self.examples, self.vocabulary, 60)

    def buckets(self) -> Buckets:
        """See ``Case``."""
        return Buckets.of(self.sizes, (8, 22, 60))

    def model(self, key: Any) -> eqx.Module:
        """See ``Case``."""
        return BiLSTM(self.width, words=self.vocabulary, key=key)

    def torch_parts(self, model: Any) -> tuple[Any, Callable[[Any], Any], Callable[[Any, Any], Any] | None]:
        """See ``Case``."""
        from widebasin.benchmarks import torch_ragged

        return torch_ragged.TorchBiLSTM(model, **self.rates), torch_ragged.sentences, None


@dataclass(frozen=True, eq=False)
class TaggerCase(Sentences):
    """``pos-transformer:en_lines`` without suffixes, on sentences with the lengths of UD_English-LinES."""

    width: int = 64
    batch_size: int = 32
    steps: int = 20
    rates: Mapping[str, float] = field(default_factory=lambda: {"dropout": 0.2, "word_dropout": 0.1})
    vocabulary: int = 3_786
    tags: int = 17
    name: ClassVar[str] = "tagger"
    objective: ClassVar[Objective] = TAGGING

    @property
    def recipe(self) -> Recipe:
        """See ``Case``."""
        return Recipe(1, self.batch_size, 4e-3, "constant", optimizer="adamw", weight_decay=0.01)

    @cached_property
    def dataset(self) -> Dataset:
        """See ``Case``."""
        return sentences_like(LINES_LENGTHS, self.examples, self.vocabulary, self.tags)

    def buckets(self) -> Buckets:
        """See ``Case``."""
        return Buckets.fitted(self.sizes, number=3, power=1.5)

    def model(self, key: Any) -> eqx.Module:
        """See ``Case``."""
        return Tagger(self.width, self.vocabulary, self.tags, depth=1, heads=4, key=key)

    def torch_parts(self, model: Any) -> tuple[Any, Callable[[Any], Any], Callable[[Any, Any], Any] | None]:
        """See ``Case``."""
        from widebasin.benchmarks import torch_ragged

        network = torch_ragged.TorchTagger(model, max(LINES_LENGTHS), **self.rates)
        return network, torch_ragged.sentences, torch_ragged.tags_loss


CASES: tuple[Case, ...] = (LSTMCase(37), LSTMCase(150), TaggerCase())


def measure(rounds: int) -> Benchmark:
    """Times a step of the base optimizer and of SAM for every network and framework."""
    return ragged.measure(
        "sequences",
        "one step of the networks of sentences, made sentences",
        "Words are counted without padding. PyTorch: nn.LSTM on packed sequences, and nn.TransformerEncoderLayer on "
        "batches padded to their longest sentence.",
        CASES,
        rounds,
    )
