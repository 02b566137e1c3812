"""Workloads ``NAME:DATA``: what may stand there, and made data of every kind from their files to a report's facts."""

from pathlib import Path

import numpy as np
import pytest
from data.test_treebanks import conllu
from together import together

from widebasin.data import DataError
from widebasin.sweep import UsageError, workload_named
from widebasin.sweep.run import run
from widebasin.sweep.spec import spec_type
from widebasin.workloads import WORKLOADS, sst2_lstm
from widebasin.workloads.registry import FAMILIES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The data folder; SST-2 is read once in a process, and here again."""
    monkeypatch.setenv("WIDEBASIN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for cached in (sst2_lstm._data, sst2_lstm._references):
        monkeypatch.setattr(sst2_lstm, cached.__name__, cached.__wrapped__)
    return tmp_path / "data"


# Made data ------------------------------------------------------------------------------------------------------------

NOUNS, VERBS = [f"n{k}en" for k in range(12)], [f"v{k}t" for k in range(12)]


def treebank_of(folder, code, longest_of_dev=4):
    """Sentences of a determiner, nouns and verbs; those to validate on are short."""
    random = np.random.default_rng(0)

    def sentences(number, longest):
        found = []
        for _ in range(number):
            words = [("the", "DET")]
            for _ in range(random.integers(1, longest)):
                noun = bool(random.random() < 0.5)
                words.append((str(random.choice(NOUNS if noun else VERBS)), "NOUN" if noun else "VERB"))
            found.append(words)
        return found

    place = folder / "ud" / f"UD_{code}"
    place.mkdir(parents=True)
    for part, number, longest in (("train", 90, 30), ("dev", 20, longest_of_dev), ("test", 20, 30)):
        (place / f"{code}-ud-{part}.conllu").write_text(conllu(sentences(number, longest)))


def molecules_of(folder, name):
    """Rings: whether there is nitrogen, and whether the ring is one of 5, which is not known of a fifth."""
    random = np.random.default_rng(0)
    lines = ["smiles,nitrogen,five"]
    for n in range(100):
        a, b, c = random.choice(["C", "O", "S"], 3)
        nitrogen, five = random.integers(0, 2, 2)
        ring = f"C1{a}C{b}C1" if five else f"C1{a}C{b}C{c}C1"
        lines.append(f"{ring}C{'ON'[nitrogen]},{nitrogen},{'' if n % 5 == 0 else five}")
    (folder / "mol").mkdir()
    (folder / "mol" / name).write_text("\n".join(lines) + "\n")


def films_of(folder):
    """As many sentences as there are, for a film where the first word is good."""
    random = np.random.default_rng(0)
    words = [f"w{k}" for k in range(40)]
    for part, number in (("train", 6_920), ("dev", 872), ("test", 1_821)):
        lines = []
        for _ in range(number):
            label = int(random.integers(0, 2))
            rest = random.choice(words, random.integers(2, 12))
            lines.append(f"{label} {' '.join([('bad', 'good')[label], *rest])}\n")
        (folder / "sst2").mkdir(exist_ok=True)
        (folder / "sst2" / f"stsa.binary.{part}").write_text("".join(lines))


def trained(name, out="results", **values):
    """One epoch of a small, pruned network on wrong labels; the facts of a report, and a row of results."""
    usual = {"rhos": (0.05,), "seeds": 1, "epochs": 1, "label_noise": (0.3,), "sparsity": (0.5,), "pruners": ("snip",)}
    workload = WORKLOADS[name]
    spec = spec_type(workload.axes)(workload=name, **(usual | values))
    done = run(spec, Path(out))
    row, *_ = done.results().to_dict("records")
    judge = workload.metrics[0].name
    assert np.isfinite([row[key] for key in ("train_loss", "valid_loss", f"valid_{judge}", f"test_{judge}")]).all()
    (width,) = values["widths"]
    assert row["num_params"] == workload.num_params(width, 0.5, "snip") < 0.7 * workload.num_params(width)
    assert (row["label_noise"], bool(row["diverged"])) == (0.3, False)
    return done.description(), row


@pytest.mark.slow
def test_a_treebank_from_its_files_to_the_facts_of_a_report(folder, caplog):
    """The sentences to validate on are all shorter than the longest bucket, and a tag may be missing."""
    treebank_of(folder, "xx_made")
    description, _ = trained("pos-transformer:xx_made", widths=(8,), methods=("sgd",))
    assert description.title == "xx_made upos, a tag for every word of a treebank, transformer of dimension h, 1 layer"
    assert "xx_made upos: of 130 examples, 20 for validation and 20 for test; with so few" in caplog.text
    references = {
        "the most frequent tag of each word": 1.0,
        "that, and of the last three letters of unknown words": 1.0,
    }
    assert dict(description.references) == references
    # Of the training sentences alone.
    targets = WORKLOADS["pos-transformer:xx_made"].load().targets[:90]
    assert description.chance == pytest.approx(np.bincount(targets[targets >= 0]).max() / (targets >= 0).sum())


@pytest.mark.slow
def test_a_table_of_molecules_from_its_file_to_the_facts_of_a_report(folder):
    pytest.importorskip("rdkit")
    molecules_of(folder, "made.csv")
    description, row = trained("mol-gcn:made", widths=(8,), methods=("sgd",))
    assert description.title == "made, 2 properties of molecules, graph convolutions of width h"
    assert description.metric.name == "map"
    assert list(description.references) == [
        "the same score for every molecule",
        "logistic regression on fingerprints",
    ]
    low, high = description.references.values()
    assert 0 < low < high <= 1
    assert 0 < row["test_map"] <= 1


@pytest.mark.slow
def test_sentences_on_films_from_their_files_to_the_facts_of_a_report(folder):
    films_of(folder)
    description, _ = trained("sst2-lstm:sentences", widths=(3,), methods=("sgd",), train_examples=256)
    (reference,) = description.references.values()
    assert reference > 0.99
    assert description.data == "SST-2 (sentences)"
    vectors = np.random.default_rng(0).normal(size=(2, 5))
    few = {
        "widths": (3,),
        "methods": ("sgd",),
        "train_examples": 64,
        "seeds": 1,
        "epochs": 1,
        "name": "sst2-lstm:sentences",
    }
    np.savez("e.npz", words=["good", "bad"], vectors=vectors)
    trained(**few, embeddings=("none", "e.npz"), out="with")
    np.savez("e.npz", words=["good", "bad"], vectors=2 * vectors)
    sst2_lstm._vectors.cache_clear()
    with pytest.raises(
        UsageError, match=r"the content of e\.npz = '.*', but here it is '.*', which may change results"
    ):
        trained(**few, embeddings=("none", "e.npz"), out="with")
    with pytest.raises(DataError, match="SST-2 was not found"):
        WORKLOADS["sst2-lstm"].load()


# What stands behind the colon -----------------------------------------------------------------------------------------


def test_the_families_and_what_they_say_may_stand_there():
    assert set(FAMILIES) == {"sst2-lstm", "pos-transformer", "mol-gcn", "minatar-ppo", "atari-ppo"}
    assert all(name in WORKLOADS and f"{name}:" in WORKLOADS for name in FAMILIES)
    assert not [name for name in ("digits-mlp:x", "mol-gcnx:y", ":", "") if name in WORKLOADS]


@together(
    ("name", "message"),
    [
        ("mol-gcn:nothing", r"mol-gcn: takes a \.csv of SMILES and tasks, or a folder of OGB or TU, such as tox21"),
        ("mol-gcn:", "'' is neither a path of one nor the name of one in the data folder: see --data-dir"),
        ("mol-gcn:a\0b", "is neither a path of one"),
        ("pos-transformer:", "name must be the name of a treebank, such as UD_English-LinES or en_lines, got ''"),
        ("pos-transformer:en_toy:lemma", "column must be one of upos, xpos, deprel, feats, got 'lemma'"),
        ("pos-transformer:en_toy:upos:x", "column must be one of upos, xpos, deprel, feats, got 'upos:x'"),
        ("sst2-lstm:phrases", "the only other data of sst2-lstm are sst2-lstm:sentences, got 'phrases'"),
        ("sst2-lstm:", "the only other data of sst2-lstm are sst2-lstm:sentences, got ''"),
    ],
)
def test_what_is_no_data_is_an_error_of_the_argument_that_says_what_may_stand_there(folder, name, message):
    (folder.parent / "raw").mkdir(exist_ok=True)  # the folder of work is no data unless it is named
    with pytest.raises(UsageError, match=message) as error:
        workload_named(name)
    assert error.value.argument == "workload"
    assert "\n" not in str(error.value)


@together(
    ("name", "message"),
    [
        (
            "pos-transformer:xx_none",
            r"the treebank xx_none was not found; put its folder, from https://github\.com/Univ",
        ),
        ("sst2-lstm:sentences", r"SST-2 \(sentences\) was not found; put stsa\.binary\.train"),
        ("mol-gcn:empty.csv", "empty.csv"),
    ],
)
def test_data_that_are_not_here_or_not_readable_are_an_error_of_the_data(folder, name, message):
    (folder.parent / "empty.csv").write_text("")  # in the folder of work
    with pytest.raises(DataError, match=message):
        workload_named(name).load()
