"""Small sweeps of every kind, whose results are recorded: what is asked, and how it is carried out."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from data.image_folders import write_folders

from widebasin.data import Dataset, Normalization, SplitSizes, list_image_files
from widebasin.models import MLP
from widebasin.sam import METHODS
from widebasin.studies import STUDIES, Options
from widebasin.studies.answering import write_answer
from widebasin.sweep import Spec
from widebasin.sweep.execution import Execution
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.run import run
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads import WORKLOADS, SupervisedWorkload, Workload

IMAGE_SIZE = 8


@dataclass(frozen=True)
class Case:
    """A sweep.

    Attributes:
        spec: fields of ``Spec``.
        at_once: how many networks one program trains.
        loop: ``scan`` or ``step``.
        devices: over which networks, or the examples of a batch, are split.
        keeps: whether the parameters are kept, to be measured.
        files: writes what the sweep reads into the working directory; returns a workload to be known meanwhile.
        samples: on how many examples curvature is measured.
    """

    spec: dict[str, Any]
    at_once: int = 4
    loop: str = "scan"
    devices: int = 1
    keeps: bool = False
    files: Callable[[], Workload | None] = field(default=lambda: None)
    samples: int = 16


def execution_of(case: Case) -> Execution:
    """Nothing is left to be chosen by the machine."""
    return Execution(
        networks_at_once=case.at_once,
        loop=case.loop,
        devices=case.devices,
        workers=0,
        keep_parameters=case.keeps,
        checkpoint_seconds=3600.0,
    )


def carry_out(case: Case, folder: Path) -> ResultsFolder:
    """Trains a case's networks; names of files in its tables are relative to ``folder``."""
    with contextlib.chdir(folder):
        own = case.files()
        if own is not None:
            WORKLOADS[own.name] = own
        try:
            return run(Spec(**case.spec), folder / "out", execution=execution_of(case))
        finally:
            if own is not None:
                del WORKLOADS[own.name]


def answer_of(case: Case, trained: ResultsFolder) -> dict[str, Any]:
    """What a study says of its sweep; figures by their names."""
    answer = write_answer(trained, Options(samples=case.samples)).answer
    return {
        "title": answer.title,
        "question": answer.question,
        "setting": answer.setting,
        "findings": list(answer.findings),
        "tables": [
            {"title": t.title, "columns": list(t.columns), "rows": [list(row) for row in t.rows], "note": t.note}
            for t in answer.tables
        ],
        "pictures": [[picture.name, picture.title] for picture in answer.pictures],
    }


def measured(case: Case, trained: ResultsFolder) -> dict[str, Any]:
    """Name of an instrument -> the table of what it measured."""
    spec = trained.spec()
    instruments = STUDIES[spec.study].instruments(spec, Options(samples=case.samples))
    return {one.name: trained.measurements(one.name) for one in instruments}


def _pictures() -> Workload:
    """Streamed images: 14 to train on, of which 2 fill no batch, 4 to validate and 6 to test on."""
    files = list_image_files(write_folders(Path("pictures"), train=9, val=3))
    return SupervisedWorkload(
        name="pictures",
        model="mlp",
        description="waves in two folders",
        load=lambda: Dataset(
            "pictures",
            np.arange(len(files), dtype=np.int32),
            files.labels,
            num_classes=2,
            fixed_test=files.num_val,
            normalization=Normalization((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)),
            files=files,
            image_size=IMAGE_SIZE,
        ),
        build=lambda width, key: MLP((IMAGE_SIZE * IMAGE_SIZE * 3, width, 2), key=key),
        sizes=SplitSizes(train=14, valid=4, test=6),
        objective=CLASSIFICATION,
        recipe=Recipe(epochs=3, batch_size=4, learning_rate=0.02),
        widths=(4,),
        rhos=(0.2,),
    )


def _labelled_images() -> None:
    random = np.random.default_rng(3)
    np.savez(
        "images.npz",
        inputs=random.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8),
        targets=np.arange(60) % 3,
        test_inputs=random.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8),
        test_targets=np.arange(12) % 3,
    )


def _vectors() -> None:
    inputs = np.random.default_rng(4).normal(size=(80, 5))
    np.savez("vectors.npz", inputs=inputs, targets=np.stack([inputs[:, 0], np.tanh(inputs[:, 1] - inputs[:, 2])], 1))


_DIGITS = {"workload": "digits-mlp", "seeds": 2, "epochs": 2, "train_examples": 200}
_CONVOLUTIONS = {"workload": "digits-resnet", "widths": (2,), "rhos": (0.1,), "seeds": 1, "epochs": 2}
_LINE = {"workload": "line-mlp", "widths": (3,), "seeds": 2, "epochs": 20}

SWEEPS = {
    # Batches of 60 leave 20 examples of an epoch over; SGD trains for twice as many epochs.
    "perceptron-grid": Case(
        {
            **_DIGITS,
            "widths": (4,),
            "rhos": (0.1,),
            "first_seed": 7,
            "seeds": 1,
            "label_noise": (0.4,),
            "label_noise_kind": "asymmetric",
            "weight_decay": (0.0, 0.01),
            "learning_rate": (0.05, 0.2),
            "batch_size": 60,
            "schedule": "cosine",
            "momentum": 0.5,
            "budget": "gradients",
        },
        at_once=1,
        loop="step",
    ),
    "perceptron-bfloat16": Case({**_DIGITS, "widths": (4,), "rhos": (0.1,), "precision": "bfloat16"}),
    "residual-m": Case(
        {**_CONVOLUTIONS, "methods": ("sam",), "train_examples": 60, "batch_size": 30, "m": 10}, at_once=1, loop="step"
    ),
    "transformer": Case(
        {"workload": "digits-vit", "widths": (16,), "rhos": (0.01,), "seeds": 1, "epochs": 2}
        | {"train_examples": 100, "batch_size": 50},
        at_once=1,
        loop="step",
    ),
    "vgg-centered": Case(
        {"workload": "digits-vgg11-lazy", "widths": (1,), "rhos": (0.1,), "seeds": 1, "epochs": 2}
        | {"train_examples": 60, "batch_size": 30, "output_scale": (1.0, 1e4)},
        at_once=1,
        loop="step",
    ),
    "streamed-pruned": Case(
        {"workload": "pictures", "seeds": 1, "epochs": 2, "methods": ("sam",), "m": 2}
        | {"sparsity": (0.5,), "pruners": ("random", "snip"), "label_noise": (0.2,)},
        at_once=1,
        loop="step",
        files=_pictures,
    ),
    "regression": Case(
        {"workload": "synthetic-mlp", "widths": (10,), "rhos": (0.05,), "seeds": 2, "epochs": 2, "train_examples": 200}
    ),
    "arrays": Case(
        {"workload": "vectors.npz", "widths": (4,), "rhos": (0.1,), "seeds": 2, "epochs": 3, "batch_size": 16},
        files=_vectors,
    ),
    "arrays-of-images": Case(
        {"workload": "images.npz:mlp", "widths": (4,), "rhos": (0.1,), "seeds": 2, "epochs": 3, "batch_size": 16},
        files=_labelled_images,
    ),
    "methods": Case({**_DIGITS, "methods": tuple(METHODS), "widths": (3,), "rhos": (0.1,)}),
}

ANSWERS = {
    "overparam": Case({**_DIGITS, "widths": (2, 4), "rhos": (0.05, 0.2)}, at_once=6),
    "label-noise": Case({**_DIGITS, "widths": (4,), "rhos": (0.1,), "label_noise": (0.0, 0.4)}),
    "regularization": Case({**_DIGITS, "widths": (4,), "rhos": (0.1,), "weight_decay": (0.0, 0.01)}),
    "sparsity": Case(
        {**_DIGITS, "widths": (2, 4), "rhos": (0.1,), "prune": "largest", "pruners": ("random", "snip")}, at_once=6
    ),
    "methods": Case({**_DIGITS, "widths": (4,), "rhos": (0.1,), "methods": ("sgd", "sam", "random-perturbation")}),
    "convergence": Case(
        {"workload": "matrix-factorization", "methods": ("sgd", "unnormalized-sam"), "rhos": (0.0001,)}
        | {"seeds": 2, "epochs": 40, "train_examples": 200, "learning_rate": (0.05,)},
        keeps=True,
    ),
    "stability": Case({**_LINE, "methods": ("sgd", "unnormalized-sam"), "rhos": (0.01,)}, keeps=True, samples=12),
    "linearized": Case(
        {**_DIGITS, "workload": "digits-squared-mlp", "widths": (4,), "rhos": (0.1,), "batch_size": 20}
        | {"output_scale": (1.0, 1e4), "precision": "float64"},
        keeps=True,
    ),
    "solution-space": Case({**_LINE, "widths": (3, 6), "rhos": (0.3,)}, keeps=True, samples=12),
    "coordinate-check": Case(
        {**_DIGITS, "widths": (2, 4), "methods": ("sam",), "rhos": (0.1,), "label_noise": (0.0,)}
        | {"parametrization": ("standard", "mup", "mup2"), "base_width": 2},
        keeps=True,
    ),
}

# "" is the answer to a sweep of its own.
STUDIED = {
    "study-" + name: Case({**case.spec, "study": name}, case.at_once, keeps=case.keeps, samples=case.samples)
    for name, case in ANSWERS.items()
}
CASES = SWEEPS | STUDIED
