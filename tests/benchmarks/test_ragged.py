"""The contenders on sentences and graphs do the same work: a step from the same parameters ends at the same ones."""

import jax
import numpy as np
import pytest

from widebasin.benchmarks import graphs, ragged, sequences
from widebasin.benchmarks.synthetic_ragged import LINES_LENGTHS, SST2_LENGTHS, TOX21_SIZES, sizes_like

SENTENCE_RATES = {"dropout": 0.0, "word_dropout": 0.0}
SMALL = {"width": 4, "batch_size": 16, "steps": 1}
LSTM = sequences.LSTMCase(**SMALL, rates=SENTENCE_RATES, vocabulary=30)
TAGGER = sequences.TaggerCase(**SMALL, rates=SENTENCE_RATES, vocabulary=30)
GRAPHS = graphs.GraphCase(**SMALL, rates={"dropout": 0.0})


@pytest.mark.parametrize(
    ("quantiles", "mean"),
    [(SST2_LENGTHS, 9.8), (LINES_LENGTHS, 18.7), (TOX21_SIZES, 18.6)],
    ids=["sst2", "lines", "tox21"],
)
def test_made_sizes_have_the_mean_and_the_largest_of_real_ones(quantiles, mean):
    sizes = sizes_like(quantiles, 2_000, np.random.default_rng(0))
    assert sizes.mean() == pytest.approx(mean, rel=0.06)
    assert (sizes.min(), sizes.max()) == (quantiles[0], quantiles[-1])


@pytest.mark.slow
@pytest.mark.parametrize("case", [LSTM, TAGGER, GRAPHS], ids=lambda case: case.name)
def test_torch_and_every_variant_take_the_step_that_the_program_takes(case, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(ragged, "RHO", 0.3)
    for problem in (case.default, *case.variants().values()):
        ours = case.program("sam", problem)
        rival = case.torch_training(ours, threads=1)
        start = [p.detach().clone() for p in rival.params]
        loss = ours.epoch()["train_loss"][0]
        # The only batch has all examples; in which order does not matter.
        assert rival.epoch(torch.arange(case.batch_size)[None]) == pytest.approx(loss, rel=1e-5)
        mine = [p.detach() for p in case.torch_training(ours, threads=1).params]
        for before, own, its in zip(start, mine, rival.params, strict=True):
            moved = float((own - before).norm())
            assert moved > 0
            # Adam takes whole steps where a gradient is nothing but rounding, as that of the biases of keys.
            assert float((own - its.detach()).norm()) < 1e-3 * moved or case is TAGGER
            assert float((own - its.detach()).abs().max()) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("case", [LSTM, TAGGER, GRAPHS], ids=lambda case: case.name)
def test_dropout_of_torch_drops(case):
    torch = pytest.importorskip("torch")
    lively = type(case)(**SMALL, rates=dict.fromkeys(case.rates, 0.5))
    ours = lively.program("sgd")
    rival = lively.torch_training(ours, threads=1)
    inputs = rival.prepare(rival.inputs)
    torch.manual_seed(0)
    assert not torch.equal(rival.model(inputs), rival.model(inputs))


@pytest.mark.slow
@pytest.mark.parametrize("torch_there", [True, False])
def test_rows_are_per_network_and_count_without_padding(monkeypatch, torch_there):
    if torch_there:
        pytest.importorskip("torch")
    else:
        monkeypatch.setattr(ragged, "torch_version", lambda: "")
    monkeypatch.setattr(graphs, "CASES", (GRAPHS,))
    monkeypatch.setattr(ragged, "METHODS_TIMED", ("sgd",))  # every program is compiled, which is nearly all of the time
    found = graphs.measure(1)
    rivals = list(ragged._torch_contenders()) if torch_there else ["PyTorch"]
    ours = [ragged.OURS, ragged.ONE, ragged.PADDED, graphs.PACKED]
    assert [row.what for row in found.rows] == [f"graph convolutions, h = 4, Adam, {name}" for name in [*ours, *rivals]]
    for row in found.rows:
        if row.timing is None:
            assert row.missing == "torch not installed"
            continue
        rate = float(dict(row.more)["graphs/s"].replace(",", ""))
        assert rate == pytest.approx(GRAPHS.batch_size / row.timing.median, abs=1)


def test_words_are_counted_without_padding():
    assert LSTM.counts().sum() == np.count_nonzero(LSTM.dataset.inputs)
    assert TAGGER.counts().sum() == np.count_nonzero(jax.tree.leaves(TAGGER.dataset.inputs)[0])
