"""Synthetic sentences, bidirectional LSTM with states of h features: sst2-lstm on embedded data."""

from widebasin.data import Buckets, SplitSizes, phrases
from widebasin.data.phrases import VOCABULARY
from widebasin.models import BiLSTM
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads.dropout import dropout, word_dropout
from widebasin.workloads.workload import SupervisedWorkload

PHRASES_LSTM = SupervisedWorkload(
    name="phrases-lstm",
    model="bilstm",
    description="made sentences (embedded), positive or negative, bidirectional LSTM with attention",
    load=phrases,
    build=lambda width, key: BiLSTM(width, words=VOCABULARY, key=key),
    sizes=SplitSizes(train=1_500, valid=300, test=600),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=15, batch_size=50, optimizer="adam", learning_rate=0.01, schedule="cosine"),
    widths=(4, 8, 16),
    rhos=(0.02, 0.1),
    quick={"widths": (4, 8), "rhos": (0.05,), "seeds": 2, "epochs": 5},
    axes=(dropout(0.0), word_dropout(0.0)),
    given=("dropout", "word_dropout"),
    buckets=lambda: Buckets.of((phrases().inputs > 0).sum(1), (12, 20)),
)
