"""The studies of why it helps: on small sweeps as a user runs them, and on tables whose truth is known."""

import re

import numpy as np
import pandas as pd
import pytest

from widebasin.report.mechanism_tables import significant
from widebasin.report.statistics import geometric_decay
from widebasin.studies import STUDIES, Options, convergence
from widebasin.studies.answering import write_answer
from widebasin.studies.study import Tables
from widebasin.sweep import Execution, Spec, UsageError, resolve
from widebasin.sweep.run import run

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
    }
    return columns | changes


def measured(sharpness_of, s_of, radii=(0.0, 0.001, 0.01), seeds=4):
    """Tables of the stability study from functions of the radius, with a factor for each seed."""
    curvature, judged = [], []
    for rho in radii:
        for seed in range(seeds):
            factor = 1 + 0.2 * seed
            which = identity(method="unnormalized-sam" if rho else "sgd", rho=rho, seed=seed)
            s = {f"s{order}": factor * s_of(rho) for order in (2, 3, 4)}
            row = {"loss": 0.01, "lowest": -0.1, "sharpness": factor * sharpness_of(rho), "converged": True}
            curvature.append(which | row | s)
            for multiple, value, growth in ((1.0, 1.0002, 1.0001), (16.0, 3.0, 1.4)):
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
    return Tables(
        pd.DataFrame(), pd.DataFrame(), {"curvature": pd.DataFrame(curvature), "stability": pd.DataFrame(judged)}
    )


def stability_answer(tables):
    return STABILITY.answer(resolve(STABILITY.spec), tables, Options())


def test_minima_that_get_flatter_with_the_radius_are_called_so():
    answer = stability_answer(measured(lambda rho: 40 if rho == 0 else 0.4 * rho**-0.5, lambda rho: 60))
    text = "\n".join(answer.findings)
    # Per seed the factor cancels: 0.4 / sqrt(0.01) = 4 against 40, without spread.
    assert "have a sharpness 0.1 times that of SGD minima (95% interval 0.1 to 0.1): lower." in text
    assert "have a non-uniformity s2 1 times" in text
    assert f"falls with the radius: times {10**-0.5:.2g} per tenfold radius" in text
    assert "12 of 12 networks are stable at their learning rate" in text
    assert "grows over these steps in 12 of 12" in text


def test_minima_that_get_sharper_are_called_so_too():
    text = "\n".join(stability_answer(measured(lambda rho: 40 + 1e3 * rho, lambda rho: 60 - 1e3 * rho)).findings)
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
    (table,) = write_answer(folder, Options()).tables
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
    answer = write_answer(folder, Options(samples=12))
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
    answer = write_answer(folder, Options())
    text = "\n".join(answer.findings)
    assert "Width 4 (64 parameters): no network reaches a millionth of the first loss" in text
    assert "Width 10 (160 parameters): 4 of 4 networks reach a millionth" in text
    assert "4 of them linearly" in text
    guarantee = re.search(r"guarantees a rate for (\d) networks; (\d) of them converge at least as fast", text)
    assert guarantee
    assert guarantee.group(1) == guarantee.group(2)
    wide = [row for row in answer.tables[0].rows if row[0] == "10"]
    assert all(float(row[5]) > 0.001 and float(row[7]) > float(row[8]) for row in wide)


def test_convergence_wants_a_constant_learning_rate():
    with pytest.raises(UsageError, match="schedule = 'cosine': must be constant"):
        CONVERGENCE.check(resolve(Spec(workload="matrix-factorization", schedule="cosine")))


def solutions(distance_of):
    """Tables of the solution-space study: SAM's function is the baseline's plus a distance."""
    rows, curvature = [], []
    for width in (10, 100):
        for seed in range(3):
            for method, rho in (("sgd", 0.0), ("sam", 0.3)):
                which = identity(
                    workload="line-mlp", width=width, num_params=3 * width + 1, method=method, rho=rho, seed=seed
                )
                shift = distance_of(width) * (1 + 0.1 * seed) if method == "sam" else 0.0
                for x in np.linspace(-1.25, 1.25, 6):
                    rows.append(which | {"kind": "output", "position": x, "value": x**2 + shift})
                rows += [which | {"kind": "parameter", "position": k, "value": 2.0 + shift} for k in range(3)]
                sharpness = 8.0 if method == "sgd" else 2.0
                curvature.append(which | {"sharpness": sharpness, "loss": 0.01, "converged": True})
    return Tables(
        pd.DataFrame(), pd.DataFrame(), {"solution": pd.DataFrame(rows), "curvature": pd.DataFrame(curvature)}
    )


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


def test_equal_distances_are_no_finding():
    answer = SOLUTION_SPACE.answer(resolve(SOLUTION_SPACE.spec), solutions(lambda width: 0.1), Options())
    assert any("no difference beyond the spread of the seeds" in finding for finding in answer.findings)


def test_functions_are_drawn_of_inputs_of_one_number():
    with pytest.raises(UsageError, match="inputs of one number"):
        SOLUTION_SPACE.check(resolve(Spec(workload="digits-mlp")))


def test_a_study_that_measures_wants_two_examples_at_least():
    with pytest.raises(UsageError, match="samples = 1: must be at least 2"):
        Options(samples=1).check()
