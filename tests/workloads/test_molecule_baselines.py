import dataclasses

import numpy as np
import pytest
from data.files import needs_data, real_file

from widebasin.data import Dataset, Molecules, SplitSizes, molecule_table
from widebasin.workloads.molecule_baselines import constant, fingerprint_logistic_regression


def molecules():
    """Whether there is oxygen, whether there is a ring, and nothing but zeros; a fifth of the labels is missing."""
    smiles = tuple("C" * (n % 7) + ("O" if n % 2 else "N") + ("C1CCC1" if n % 3 else "CCCC") for n in range(100))
    targets = np.array([[n % 2, n % 3 > 0, 0] for n in range(100)], np.int8)
    targets[np.random.default_rng(0).random(targets.shape) < 0.2] = -1
    dataset = Dataset("made", np.zeros(100), targets, 2, fixed_valid=10, fixed_test=20)
    return Molecules(dataset, smiles, ("oxygen", "ring", "nothing"), SplitSizes(70, 10, 20))


def test_a_constant_score_has_the_share_of_positives_in_the_test_part():
    given = molecules()
    labels = given.dataset.targets[80:, :2]
    shares = [(column == 1).sum() / (column >= 0).sum() for column in labels.T]
    assert constant(given).mean_average_precision == pytest.approx(np.mean(shares))
    assert constant(given).mean_roc_auc == 0.5


def test_fingerprints_tell_oxygen_and_rings():
    pytest.importorskip("rdkit", reason="rdkit is not installed")
    assert fingerprint_logistic_regression(molecules()) == (pytest.approx(1.0), pytest.approx(1.0))


def test_a_split_by_seed_and_unknown_smiles_are_refused():
    given = molecules()
    drawn = dataclasses.replace(given, dataset=dataclasses.replace(given.dataset, fixed_test=0))
    for baseline in (constant, fingerprint_logistic_regression):
        with pytest.raises(ValueError, match="the split of made is random; read it with split="):
            baseline(drawn)
    with pytest.raises(ValueError, match="fingerprints need SMILES, but those of made are unknown"):
        fingerprint_logistic_regression(dataclasses.replace(given, smiles=()))


@needs_data
@pytest.mark.slow
def test_tox21(tmp_path, monkeypatch):
    pytest.importorskip("rdkit", reason="rdkit is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = molecule_table(real_file("mol/tox21.csv.gz"))
    assert constant(found) == (pytest.approx(0.098, abs=0.002), 0.5)
    assert fingerprint_logistic_regression(found) == (pytest.approx(0.288, abs=0.02), pytest.approx(0.707, abs=0.02))
