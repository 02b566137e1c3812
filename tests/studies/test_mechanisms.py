"""The studies of why it helps: on small sweeps as a user runs them, and on tables whose truth is known."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from studies.commands import studied
from studies.described import tables as tables_of

from widebasin import theory
from widebasin.report.mechanism_tables import significant
from widebasin.statistics.decay import geometric_decay
from widebasin.studies import STUDIES, Options
from widebasin.studies.answering import write_answer
from widebasin.studies.answers import convergence
from widebasin.studies.instruments import STEPS
from widebasin.sweep import Execution, Spec, UsageError, resolve
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.run import run
from widebasin.workloads import WORKLOADS

STABILITY, CONVERGENCE, SOLUTION_SPACE = (STUDIES[name] for name in ("stability", "convergence", "solution-space"))


def identity(**changes):
    columns = {
        "workload": "digits-squared-mlp",
        "model": "mlp",
        "width": 32,
        "num_params": 9674,
        "sparsity": 0.0,
        "pruner": "none",
        "output_scale": 1.0,
        "label_noise": 0.0,
        "weight_decay": 0.0,
        "learning_rate": 0.002,
        "parametrization": "standard",
    }
    return columns | changes


def measured(sharpness_of, s_of, radii=(0.0, 0.001, 0.01), seeds=4, at_training=1.0):
    """Tables of the stability study from functions of the radius, with a factor for each seed."""
    curvature, judged = [], []
    for rho in radii:
        for seed in range(seeds):
            factor = (1 + 0.2 * seed) ** (1 + rho / 100)
            which = identity(method="unnormalized-sam" if rho else "sgd", rho=rho, seed=seed)
            s = {f"s{order}": factor * s_of(rho) for order in (2, 3, 4)}
            row = {"loss": 0.01, "lowest": -0.1, "sharpness": factor * sharpness_of(rho), "converged": True}
            curvature.append(which | row | s)
            for multiple, value, growth in ((1.0, at_training, 1.0001), (16.0, 3.0, 1.4)):
                judged.append(
                    which
                    | {
                        "multiple": multiple,
                        "tested_learning_rate": 0.002 * multiple,
                        "tested_rho": rho,
                        "second_moment": value,
                        "stable": value < 1.001,
                        "one_step": value,
                        "growth": growth,
                        "growth_error": 1e-4,
                        "converged": True,
                    }
                )
    found = {"curvature": pd.DataFrame(curvature), "stability": pd.DataFrame(judged)}
    return tables_of(pd.DataFrame(), found)


def stability_answer(tables):
    return STABILITY.answer(resolve(STABILITY.spec), tables, Options())


def test_minima_that_get_flatter_with_the_radius_are_called_so():
    answer = stability_answer(measured(lambda rho: 40 if rho == 0 else 0.4 * rho**-0.5, lambda rho: 60))
    text = "\n".join(answer.findings)
    # Per seed the factor nearly cancels: 0.4 / sqrt(0.01) = 4 against 40, without spread.
    assert "have a sharpness 0.1 times that of SGD minima (95% interval 0.1 to 0.1): lower." in text
    assert "have a non-uniformity s2 1 times" in text
    assert f"falls with the radius: times {10**-0.5:.2g} per tenfold radius" in text
    assert "12 of 12 networks are stable at their learning rate" in text
    assert "grows over these steps in 12 of 12" in text


@pytest.mark.parametrize("lost", [0.0, np.nan])
def test_minima_of_which_a_seed_has_no_sharpness_get_no_verdict(lost):
    """Of SGD's network, and of SAM's at one radius."""
    for method, rho in (("sgd", 0.0), ("unnormalized-sam", 0.01)):
        tables = measured(lambda rho: 40 if rho == 0 else 0.4 * rho**-0.5, lambda rho: 60)
        curvature = tables.measured["curvature"]
        which = (curvature["method"] == method) & (curvature["rho"] == rho) & (curvature["seed"] == 2)
        curvature.loc[which, ["sharpness", "s2"]] = lost
        text = "\n".join(stability_answer(tables).findings)
        left = "over 3 of 4 seeds, those of which both networks have one above 0"
        assert f"times that of SGD minima (95% interval 0.1 to 0.1, {left})." in text
        if method != "sgd":
            assert "The sharpness of unnormalized SAM changes with the radius: times" in text
            assert text.count("over 3 of 4 seeds, those that have one above 0 at every radius") == 2
    tables = measured(lambda rho: np.nan if rho == 0.1 else 40 + 900 * rho, lambda rho: 60, radii=(0, 0.001, 0.01, 0.1))
    text = "\n".join(stability_answer(tables).findings)
    assert "At rho 0.01, minima of unnormalized SAM have a sharpness 1.2 times" in text
    assert "The sharpness of unnormalized SAM grows with the radius" in text


def test_an_eigenvalue_above_1_by_less_than_its_tolerance_is_undecided():
    answer = stability_answer(measured(lambda rho: 40, lambda rho: 60, at_training=1.0008))
    text = "\n".join(answer.findings)
    assert "0 of 12 networks are stable at their learning rate, 12 undecided (above 1 by less than the tol" in text
    assert "that (6) calls stable" not in text
    cells = [row[-2] for row in answer.tables[-1].rows]
    assert cells == ["0 of 4, 4 undecided", "0 of 4"] * 3
    assert "0.001" in answer.tables[-1].note


def test_growth_within_the_tolerance_is_none_and_the_tolerance_is_named():
    tables = measured(lambda rho: 40, lambda rho: 60)
    stability = tables.measured["stability"]
    stability.loc[stability["multiple"] == 1, ["growth", "growth_error"]] = 1.0009, 0.0
    found = [finding for finding in stability_answer(tables).findings if "does not grow" in finding]
    assert found == [
        f"Over {STEPS} simulated steps from the worst direction, it does not grow (by more than 0.001 per step and two "
        "standard errors) in 12 of 12 cases that (6) calls stable."
    ]


def test_minima_that_get_sharper_are_called_so_too():
    text = "\n".join(stability_answer(measured(lambda rho: 40 + 900 * rho, lambda rho: 60 - 900 * rho)).findings)
    assert "have a sharpness 1.2 times that of SGD minima (95% interval 1.2 to 1.2): higher." in text
    assert "The sharpness of unnormalized SAM grows with the radius" in text
    assert "The non-uniformity s2 of unnormalized SAM falls with the radius" in text


def test_one_seed_gives_no_verdict():
    text = "\n".join(stability_answer(measured(lambda rho: 40 - rho, lambda rho: 60, seeds=1)).findings)
    assert "one seed" in text
    assert "lower" not in text


def test_the_terms_of_condition_seven_are_those_of_the_theory():
    answer = stability_answer(measured(lambda rho: 40.0, lambda rho: 60.0, radii=(0.0, 0.0001), seeds=2))
    (table,) = [t for t in answer.tables if "(7)" in t.title]
    mean = 1.1
    a, s = 40 * mean, 60 * mean
    sgd, sam = table.rows
    bound = 1 / (0.002 * (0.002 - 0.0002))
    assert sgd[2:6] == (significant(a), significant(1000.0), significant(s**2), significant(250_000.0))
    assert sgd[7] == sgd[9] == "—"
    assert sam[2] == significant(a * (1 + 0.0001 * a))
    assert sam[5] == significant(bound)
    assert sam[7] == significant(1 / (2 * 0.002**2 * 0.0001))
    assert sam[9] == significant(1 / (0.002 * 0.0001) ** 2)


def test_a_broken_bound_is_marked():
    answer = stability_answer(measured(lambda rho: 2000.0, lambda rho: 60.0))
    (table,) = [t for t in answer.tables if "(7)" in t.title]
    assert all(row[3].endswith("broken") for row in table.rows)


def test_networks_that_diverged_are_counted_and_left_out():
    tables = measured(lambda rho: 40.0, lambda rho: 60.0)
    curvature, judged = tables.measured["curvature"], tables.measured["stability"]
    curvature.loc[0, ["sharpness", "s2", "s3", "s4", "loss"]] = np.nan
    judged.loc[0, ["second_moment", "one_step", "growth"]] = np.nan
    answer = stability_answer(tables)
    assert any("diverged, and are not measured: 1." in finding for finding in answer.findings)
    assert answer.tables[0].rows[0][2] == "3"


@pytest.mark.slow
def test_rates_are_per_step_also_on_fewer_examples(tmp_path):
    """Least squares on 50 examples, 5 steps an epoch: the rates shown are those of the loss against steps."""
    spec = Spec(
        study="convergence",
        workload="least-squares",
        widths=(400,),
        methods=("sgd", "unnormalized-sam"),
        rhos=(0.002,),
        seeds=1,
        epochs=60,
        train_examples=50,
    )
    folder = run(spec, tmp_path / "out", execution=Execution(keep_parameters=True))
    (table,) = write_answer(folder, Options()).answer.tables
    history = folder.history().query("method == 'sgd'").sort_values("epoch")
    losses = history["train_loss"].to_numpy(float)
    rate = geometric_decay(5 * np.arange(1, 61), losses, convergence.FLOOR * losses[0]).factor
    assert table.rows[0][table.columns.index("rate per step")] == significant(-np.log(rate))


@pytest.mark.parametrize("argument", ["widths", "learning_rate"])
def test_stability_compares_in_one_setting(argument):
    values = {"widths": (16, 32), "learning_rate": (0.001, 0.002)}[argument]
    with pytest.raises(UsageError, match="must be one value"):
        STABILITY.check(resolve(Spec(**{"workload": "digits-squared-mlp", "widths": (32,), argument: values})))


@pytest.mark.slow
def test_stability_from_training_to_page(tmp_path):
    """Two networks of 10 parameters: what is measured is what is shown."""
    spec = Spec(
        study="stability",
        workload="line-mlp",
        widths=(3,),
        methods=("sgd", "unnormalized-sam"),
        rhos=(0.01,),
        seeds=2,
        epochs=50,
    )
    folder = run(spec, tmp_path, execution=Execution(keep_parameters=True))
    answer = write_answer(folder, Options(samples=12)).answer
    curvature, judged = folder.measurements("curvature"), folder.measurements("stability")
    assert len(curvature) == 4
    assert sorted(judged["multiple"].unique()) == [1, 4, 16]
    shown = answer.tables[0].rows[0][4]
    mean = curvature.loc[curvature["method"] == "sgd", "sharpness"].mean()
    assert float(shown.split(" ± ")[0]) == pytest.approx(mean, rel=0.05)
    assert {"curvature.png", "stability.svg"} <= {path.name for path in (tmp_path / "figures").iterdir()}
    # Other samples are measured anew, the same are not.
    before = (tmp_path / "measurements" / "curvature.parquet").stat().st_mtime_ns
    write_answer(folder, Options(samples=12))
    assert (tmp_path / "measurements" / "curvature.parquet").stat().st_mtime_ns == before
    write_answer(folder, Options(samples=6))
    assert folder.measurements("curvature")["examples"].tolist() == [12] * 4 + [6] * 4


@pytest.mark.slow
def test_a_rank_that_suffices_converges_linearly_and_one_that_does_not_levels_off(tmp_path):
    """Finding 9 on the matrix factorization, two seeds and one radius within the guarantee."""
    spec = Spec(
        study="convergence",
        workload="matrix-factorization",
        methods=("sgd", "unnormalized-sam"),
        rhos=(0.0001,),
        seeds=2,
        epochs=400,
    )
    folder = run(spec, tmp_path, execution=Execution(keep_parameters=True))
    answer = write_answer(folder, Options()).answer
    text = "\n".join(answer.findings)
    assert "Width 4 (64 parameters): no network reaches a millionth of the first loss" in text
    assert "Width 10 (160 parameters): 4 of 4 networks reach a millionth" in text
    assert "4 of them linearly" in text
    guarantee = re.search(r"guarantees a rate for (\d) networks; (\d) of them converge at least as fast", text)
    assert guarantee
    assert guarantee.group(1) == guarantee.group(2)
    wide = [row for row in answer.tables[0].rows if row[0] == "10"]
    assert all(float(row[5]) > 0.001 and float(row[7]) > float(row[8]) for row in wide)


def rates(steps_per_epoch=8, epochs=40, constants=True):
    """Tables of the convergence study: at width 10, a loss that falls by 0.01 per step, by 0.02 with the method; at
    width 4, one that falls as a power and levels off. The theorem guarantees something for the first, if at all."""
    epoch = np.arange(1, epochs + 1)
    history, known = [], []
    for width in (4, 10):
        for seed in range(3):
            for method, rho, rate in (("sgd", 0.0, 0.01), ("unnormalized-sam", 1e-4, 0.02)):
                which = identity(
                    workload="matrix-factorization",
                    width=width,
                    num_params=16 * width,
                    method=method,
                    rho=rho,
                    seed=seed,
                )
                step = steps_per_epoch * epoch
                losses = np.exp(-rate * (1 + 1e-3 * rate * seed) * 10 * step) if width == 10 else 1 / step**0.5
                history += [which | {"epoch": e, "train_loss": loss} for e, loss in zip(epoch, losses, strict=True)]
                sound = {"smoothness_each": 4.0, "smoothness": 2.0, "pl": 0.5, "kind": convergence.EXACT}
                none = {"smoothness_each": np.nan, "smoothness": np.nan, "pl": np.nan, "kind": "none"}
                known.append(which | (sound if constants and width == 10 else none))
    found = tables_of(pd.DataFrame(), {"constants": pd.DataFrame(known)})
    return dataclasses.replace(found, history=pd.DataFrame(history))


def convergence_answer(tables, **changes):
    spec = dataclasses.replace(resolve(CONVERGENCE.spec), train_examples=64, batch_size=8, rhos=(1e-4,), **changes)
    return CONVERGENCE.answer(spec, tables, Options())


def test_rates_are_those_of_the_losses_per_step():
    answer = convergence_answer(rates())
    rows = {(row[0], row[2]): row for row in answer.tables[0].rows}
    column = answer.tables[0].columns.index
    assert rows["10", "SGD"][column("rate per step")] == "0.1"
    assert rows["10", "unnormalized SAM"][column("rate per step")] == "0.2"
    assert rows["10", "SGD"][column("95% interval")] == "0.1 to 0.1"
    assert rows["10", "SGD"][column("R²")] == "1.0000"
    text = "\n".join(answer.findings)
    assert "Width 10 (160 parameters): 6 of 6 networks reach a millionth of the first loss, 6 of them linearly" in text
    assert "Width 4 (64 parameters): no network reaches a millionth" in text
    assert "in 6 of 6 more like a power law" in text
    assert "converges 2.000 times as fast as SGD (95% interval 2.000 to 2.000)." in text


def test_what_the_theorem_guarantees_is_that_of_the_constants():
    answer = convergence_answer(rates())
    expected = theory.convergence(
        smoothness_each=4.0, smoothness=2.0, pl=0.5, rho=0.0, batch_size=8, learning_rate=0.002
    )
    row = next(row for row in answer.tables[0].rows if row[:3] == ("10", "160", "SGD"))
    assert row[-1] == significant(-np.log(expected.factor))
    assert "guarantees a rate for 6 networks (constants exact, from the data); 6 of them converge" in "\n".join(
        answer.findings
    )
    without = convergence_answer(rates(constants=False)).findings
    momentum = convergence_answer(rates(), momentum=0.9, weight_decay=(0.1,)).findings
    assert momentum[-1] == "The theorem guarantees no rate: it has no momentum 0.9 and weight decay."
    assert without[-1] == "The constants of the theorem are not known for these networks: no rate is guaranteed."


def test_convergence_wants_a_constant_learning_rate():
    with pytest.raises(UsageError, match="schedule = 'cosine': must be constant"):
        CONVERGENCE.check(resolve(Spec(workload="matrix-factorization", schedule="cosine")))


def solutions(distance_of):
    """Tables of the solution-space study: SAM's function is the baseline's plus a distance."""
    rows, points, curvature = [], [], []
    for width in (10, 100):
        for seed in range(3):
            for method, rho in (("sgd", 0.0), ("sam", 0.3)):
                which = identity(
                    workload="line-mlp", width=width, num_params=3 * width + 1, method=method, rho=rho, seed=seed
                )
                shift = distance_of(width) * (1 + (0.1 + 1e-5 * width) * seed) if method == "sam" else 0.0
                for x in np.linspace(-1.25, 1.25, 6):
                    rows.append(which | {"kind": "output", "position": x, "value": x**2 + shift})
                rows += [which | {"kind": "parameter", "position": k, "value": 2.0 + shift} for k in range(3)]
                sharpness = 8.0 if method == "sgd" else 2.0 + 1e-4 * seed
                points += [which | {"x": x, "y": x**2} for x in np.linspace(-1, 1, 5)]
                curvature.append(which | {"sharpness": sharpness, "loss": 0.01, "converged": True})
    found = {"solution": rows, "points": points, "curvature": curvature}
    return tables_of(pd.DataFrame(), {name: pd.DataFrame(table) for name, table in found.items()})


def test_distances_between_solutions_and_their_change_with_the_width():
    answer = SOLUTION_SPACE.answer(resolve(SOLUTION_SPACE.spec), solutions(lambda width: width / 1000), Options())
    text = "\n".join(answer.findings)
    assert "10 neurons: the functions of SAM at rho 0.3 and of gradient descent are 0.011 apart" in text
    assert "From 10 to 100 neurons the distance changes by +0.099" in text
    assert "SAM and gradient descent end further apart in the wide network" in text
    assert (
        "100 neurons: SAM at rho 0.3 ends at 0.25 times the sharpness of gradient descent (95% interval 0.25 to 0.25)"
        in text
    )


def test_distances_over_the_seeds_that_are_left_have_no_verdict():
    tables = solutions(lambda width: width / 1000)
    curvature = tables.measured["curvature"]
    gone = (curvature["width"] == 100) & (curvature["method"] == "sam") & (curvature["seed"] == 1)
    curvature.loc[gone, "sharpness"] = np.nan
    text = "\n".join(SOLUTION_SPACE.answer(resolve(SOLUTION_SPACE.spec), tables, Options()).findings)
    assert "over 2 of 3 seeds, those without a diverged network): no verdict." in text
    assert "over 2 of 3 seeds, those of which both networks have one above 0)." in text


def test_an_input_that_is_there_twice_counts_once():
    tables = solutions(lambda width: width / 1000)
    solution = tables.measured["solution"]
    more = solution[(solution["kind"] == "output") & (solution["position"] > 0)]
    twice = dataclasses.replace(tables, measured={**tables.measured, "solution": pd.concat([solution, more])})
    spec = resolve(SOLUTION_SPACE.spec)
    expected, found = (SOLUTION_SPACE.answer(spec, one, Options()) for one in (tables, twice))
    assert (found.findings, found.tables) == (expected.findings, expected.tables)


def test_equal_distances_are_no_finding():
    answer = SOLUTION_SPACE.answer(resolve(SOLUTION_SPACE.spec), solutions(lambda width: 0.1), Options())
    assert any("no difference beyond the spread of the seeds" in finding for finding in answer.findings)


@pytest.mark.slow
def test_the_solution_space_is_drawn_with_the_points_of_the_folder(tmp_path):
    studied("solution-space", tmp_path, "--widths", "3", "5")
    folder = ResultsFolder(tmp_path / "out")
    points = folder.measurements("points")
    assert points.groupby(["width", "method", "seed"]).size().tolist() == [12] * 8
    (_, first), *_ = points.groupby("seed")
    dataset = WORKLOADS["line-mlp"].load()
    np.testing.assert_allclose(first[["x", "y"]].head(12), np.c_[dataset.inputs[:12], dataset.targets[:12]])


def test_functions_are_drawn_of_inputs_of_one_number():
    with pytest.raises(UsageError, match=r"must have inputs of shape \(1,\), such as line-mlp"):
        SOLUTION_SPACE.check(resolve(Spec(workload="digits-mlp")))


def test_a_study_that_measures_wants_two_examples_at_least():
    with pytest.raises(UsageError, match="samples = 1: must be a whole number of at least 2"):
        Options(samples=1).check()
