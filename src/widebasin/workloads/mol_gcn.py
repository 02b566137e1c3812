"""Properties of molecules, graph convolutions with h features of an atom, as in arXiv 2311.17539.

Recipe (published, after Flax's example): ogbg-molpcba with 128 binary tasks and missing labels, Adam at .001, batch
256, 5 times messages between neighbours, dropout .1; 73 epochs are its 100,000 steps; mean average precision judges.
The constant learning rate is ours, and so are radii, and that features of atoms are divided by their largest values.

``mol-gcn:FILE.csv`` takes a table with SMILES and binary tasks as MoleculeNet publishes them, also compressed, split by
scaffold (MUV, Tox21, HIV), and ``mol-gcn:FOLDER`` a folder in OGB's layout, or one of the TU collection such as MUTAG,
whose classes are told apart. For these, which are smaller, the recipe is ours: 3 times messages, batch 64, 20 epochs of
Adam at .005 (cosine).
"""

import functools
import logging
from pathlib import Path

from widebasin.data import (
    ATOM_FEATURES,
    Buckets,
    DataError,
    Molecules,
    SplitSizes,
    molecule_table,
    ogb_molecules,
    ogbg_molpcba,
    tu_graphs,
)
from widebasin.data.graph_places import find_graphs
from widebasin.models import GraphConvolution
from widebasin.shown import shown
from widebasin.training import BINARY_TASKS, CLASSIFICATION, Cut, Recipe
from widebasin.workloads.dropout import dropout
from widebasin.workloads.family import Family
from widebasin.workloads.graphs import cut_graphs, graph_buckets
from widebasin.workloads.molecule_baselines import constant, fingerprint_logistic_regression
from widebasin.workloads.workload import SupervisedWorkload, say_if_few

# Of ogbg-molpcba, so that numbers of parameters are known without it: atoms have nine features.
FEATURES, TASKS = 9, 128
LOGGER = logging.getLogger("widebasin")
# How many values each feature has, and the largest.
VALUES = tuple(ATOM_FEATURES.values())
SCALE = tuple(float(values - 1) for values in VALUES)


def _references(molecules: Molecules) -> dict[str, float]:
    found = {"the same score for every molecule": constant(molecules).mean_average_precision}
    if molecules.smiles:
        try:
            ranking = fingerprint_logistic_regression(molecules)
        except DataError:  # without rdkit
            return found
        except ValueError as error:  # a folder of graphs may have SMILES that rdkit refuses
            LOGGER.warning(shown(f"{molecules.dataset.name}: no logistic regression on fingerprints: {error}"))
            return found
        found["logistic regression on fingerprints"] = ranking.mean_average_precision
    return found


@functools.cache
def _molpcba_buckets() -> Buckets:
    return graph_buckets(ogbg_molpcba().dataset.inputs)


@functools.cache
def _molpcba_cut() -> Cut:
    return cut_graphs(ogbg_molpcba().dataset.inputs, _molpcba_buckets())


MOL_GCN = SupervisedWorkload(
    name="mol-gcn",
    model="gcn",
    description="ogbg-molpcba, 128 properties of molecules, graph convolutions of width h",
    load=lambda: ogbg_molpcba().dataset,
    build=lambda width, key: GraphConvolution(width, FEATURES, TASKS, scale=SCALE, key=key),
    sizes=SplitSizes(train=350_343, valid=43_793, test=43_793),
    objective=BINARY_TASKS,
    recipe=Recipe(epochs=73, batch_size=256, optimizer="adam", learning_rate=1e-3, schedule="constant"),
    widths=(128, 256, 512),
    rhos=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    published={184_192: -0.12, 695_936: 0.24, 2_702_464: 0.47},
    axes=(dropout(0.1),),
    given=("dropout",),
    buckets=_molpcba_buckets,
    cut=lambda graphs, length: _molpcba_cut()(graphs, length),
    references=functools.cache(lambda: _references(ogbg_molpcba())),
)


@functools.lru_cache(maxsize=8)
def _of(data: str) -> SupervisedWorkload:
    found = _found(data)
    if found.is_file():
        read = molecule_table(found)
    elif (found / "raw").is_dir():
        read = ogb_molecules(found)
    else:
        read = tu_graphs(found)
    dataset, sizes = read.dataset, read.sizes
    say_if_few(dataset, sizes)
    buckets = graph_buckets(dataset.inputs)
    features = dataset.inputs["nodes"].shape[2]
    if isinstance(read, Molecules):
        outputs, what, values = len(read.tasks), _properties(len(read.tasks)), VALUES
    else:
        outputs, what, values = len(read.classes), f"{len(read.classes)} classes of graphs", ()
    return SupervisedWorkload(
        name=f"{MOL_GCN.name}:{data}",
        model=MOL_GCN.model,
        description=f"{dataset.name}, {what}, graph convolutions of width h",
        load=lambda: dataset,
        build=lambda width, key: GraphConvolution(width, features, outputs, depth=3, values=values, key=key),
        sizes=sizes,
        objective=BINARY_TASKS if isinstance(read, Molecules) else CLASSIFICATION,
        recipe=Recipe(
            epochs=20,
            batch_size=min(64, sizes.train),
            optimizer="adam",
            learning_rate=5e-3,
            schedule="cosine",
        ),
        widths=(16, 32, 64, 128),
        rhos=(0.01, 0.02, 0.05, 0.1),
        quick={"widths": (16, 32), "rhos": (0.05,), "seeds": 2, "epochs": 10},
        axes=(dropout(0.1),),
        given=("dropout",),
        buckets=lambda: buckets,
        cut=cut_graphs(dataset.inputs, buckets),
        references=functools.cache(lambda: _references(read) if isinstance(read, Molecules) else {}),
    )


def _properties(count: int) -> str:
    return f"{count} properties of molecules" if count > 1 else "one property of molecules"


def _found(data: str) -> Path:
    found = find_graphs(data)
    if found is None:
        raise ValueError(
            f"mol-gcn: takes {GRAPHS.data}; {data!r} is neither a path of one nor the name of one in the data folder: "
            "see --data-dir"
        )
    return found


GRAPHS = Family(
    MOL_GCN.name, "a .csv of SMILES and tasks, or a folder of OGB or TU, such as tox21.csv.gz or MUTAG", _of
)
