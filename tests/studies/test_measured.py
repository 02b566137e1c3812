"""Which networks have a curvature that is that of their training."""

import dataclasses

import pandas as pd
import pytest
from report.results_tables import results_table
from studies.described import description, folder_of, tables

from widebasin.studies.answering import Answered, write_answer
from widebasin.studies.answers.measured import answer, instruments
from widebasin.studies.questions.measured import STUDY
from widebasin.studies.study import Measures
from widebasin.sweep import Spec, SweepError, UsageError, resolve

GRID = {"widths": (10,), "methods": ("sgd",), "seeds": 1, "label_noise": (0.0,), "epochs": 2}


@pytest.fixture
def folder(tmp_path):
    """A function of a spec: a folder of such networks, with nothing in it to measure."""

    def made(streamed=False, **grid):
        spec = resolve(Spec(**GRID | grid))
        one = results_table(lambda n: 0.5, widths=(10,), methods=("sgd",), seeds=(0,)).assign(
            workload=spec.workload, weight_decay=spec.weight_decay[0], learning_rate=spec.learning_rate[0]
        )
        results = [
            one.assign(sparsity=sparsity, pruner="random" if sparsity else "none", output_scale=scale)
            for sparsity in spec.sparsity
            for scale in spec.output_scale
        ]
        said = dataclasses.replace(description(), streamed=streamed)
        return folder_of(tmp_path, spec, pd.concat(results, ignore_index=True), said)

    return made


def refused(folder, **which):
    with pytest.raises(UsageError) as error:
        write_answer(folder, Measures(), study=STUDY, which=which)
    return str(error.value)


def test_centered_networks_are_refused(folder):
    assert "curvature is measured for f(w)" in refused(folder(workload="digits-vgg11-lazy"))


def test_networks_on_streamed_images_are_refused(folder):
    assert "streamed images" in refused(folder(streamed=True))


def test_pruned_networks_are_refused_until_they_are_left_out(folder):
    one = folder(sparsity=(0.0, 0.5))
    assert "sparsity = (0.5,): must be 0" in refused(one)
    assert "matches no network" in refused(one, sparsity=0.7)
    with pytest.raises(SweepError, match=r"is not finished|--keep-parameters"):  # but nothing else
        write_answer(one, Measures(), study=STUDY, which={"sparsity": 0.0})


@pytest.fixture
def judged():
    """Measurements of two networks: the eigenvalue of one is 1, of the other just above; of all else there is none."""
    networks = results_table(lambda n: 0.5, widths=(10,), methods=("sgd",), seeds=(0, 1))
    made = tables(networks)
    which = networks[[*made.design.identity]]
    measured = {one.name: which.assign(**one.nothing) for one in instruments(None, Measures())}
    verdicts = {"second_moment": [1.0, 1.0008], "stable": True, "converged": True, "multiple": [1.0, 1.0]}
    return dataclasses.replace(made, measured=measured | {"stability": measured["stability"].assign(**verdicts)})


def test_a_verdict_above_1_by_less_than_the_tolerance_is_undecided(judged):
    found = answer(resolve(Spec()), judged, Measures())
    assert any("1 of 2 verdicts are stable, 1 undecided (above 1" in finding for finding in found.findings)
    several = {"stability": judged.measured["stability"].assign(multiple=[1.0, 4.0])}
    several = dataclasses.replace(judged, measured=judged.measured | several)
    sentences = [finding for finding in answer(resolve(Spec()), several, Measures()).findings if "(6)" in finding]
    assert [one.partition("momentum, ")[2] for one in sentences] == [
        "at the first learning rate of the schedule.",
        "at 4 times the first learning rate of the schedule.",
    ]
    spec = resolve(Spec())
    rows = Answered(found, "measure.html", judged, STUDY, spec).numbers()["stability"]
    assert [(row["stable"], row["undecided"]) for row in rows] == [(True, False), (True, True)]


@pytest.mark.parametrize(
    ("values", "argument"),
    [
        ({"samples": 1}, "samples"),
        ({"multiples": (0.0,)}, "multiples"),
        ({"multiples": (1.0, 1.0)}, "multiples"),
        ({"sharpness_rho": -1.0}, "sharpness_rho"),
    ],
)
def test_how_networks_are_measured_is_checked_first(folder, values, argument):
    with pytest.raises(UsageError) as error:
        write_answer(folder(), Measures(**values), study=STUDY)
    assert error.value.argument == argument
