"""Synthetic sentences, a transformer that tags every word: pos-transformer on embedded data."""

from widebasin.data import Buckets, SplitSizes, grammar
from widebasin.data.grammar import TAGS, VOCABULARY
from widebasin.models import Tagger
from widebasin.training import TAGGING, Recipe
from widebasin.workloads.dropout import dropout, word_dropout
from widebasin.workloads.workload import SupervisedWorkload

GRAMMAR_TRANSFORMER = SupervisedWorkload(
    name="grammar-transformer",
    model="tagger",
    description="made sentences (embedded), a tag for every word, transformer of dimension h, 2 layers",
    load=grammar,
    build=lambda width, key: Tagger(width, words=VOCABULARY, tags=len(TAGS), depth=2, heads=4, key=key),
    sizes=SplitSizes(train=1_000, valid=300, test=700),
    objective=TAGGING,
    recipe=Recipe(
        epochs=10, batch_size=25, optimizer="adamw", learning_rate=4e-3, schedule="cosine", weight_decay=0.01
    ),
    widths=(8, 16, 32),
    rhos=(0.02, 0.1),
    quick={"widths": (8, 16), "rhos": (0.05,), "seeds": 2, "epochs": 4},
    axes=(dropout(0.0), word_dropout(0.0)),
    given=("dropout", "word_dropout"),
    buckets=lambda: Buckets.of((grammar().targets >= 0).sum(1), (8, 20)),
)
