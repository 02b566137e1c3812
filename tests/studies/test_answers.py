import pytest
from report.results_tables import growing, history_table, results_table

from widebasin.studies import STUDIES, Options
from widebasin.studies.networks import NETWORKS
from widebasin.studies.study import Tables
from widebasin.sweep import Spec, UsageError, resolve


def answered(study, results, spec=None, options=None):
    spec = resolve(spec or Spec(study=study.name, rhos=(0.05, 0.2)))
    return study.answer(spec, Tables(results, history_table(results)), options or Options())


def names(answer):
    return [picture.name for picture in answer.pictures]


def test_overparam_has_table_findings_and_pictures():
    answer = answered(STUDIES["overparam"], results_table(growing))
    assert names(answer) == ["gain", "radius", "accuracy", "train-loss", "by-radius"]
    (table,) = answer.tables
    assert len(table.rows) == 2
    assert answer.findings[0].startswith("The gain of SAM over SGD grows with the number of parameters")
    assert "largest tried (0.2)" in answer.findings[1]
    assert answer.findings[-1].startswith("The radius was chosen on the validation split")
    assert answer.question == STUDIES["overparam"].question


def test_overparam_of_a_loss_names_it():
    results = results_table(lambda n: 1 - growing(n), metric="loss")
    assert names(answered(STUDIES["overparam"], results))[2] == "test-loss"


def test_published_gains_are_drawn_where_the_workload_has_some():
    results = results_table(lambda n: 1 - growing(n), metric="loss")
    for workload, published in (("synthetic-mlp", True), ("digits-mlp", False)):
        spec = Spec(study="overparam", workload=workload)
        figure = answered(STUDIES["overparam"], results, spec).pictures[0].figure
        assert ("published (paper)" in [line.get_label() for line in figure.axes[0].lines]) == published


def test_options_change_what_is_read():
    results = results_table(
        growing,
        lambda n: -n.rho,
        best_test=lambda n: 0.5 if n.method == "sgd" else 0.75,
        best_valid=lambda n: -n.rho,
    )
    tables = {
        options: answered(STUDIES["overparam"], results, options=options).tables[0].rows
        for options in (Options(), Options(select="test"), Options(at="best"))
    }
    assert [row[6] for row in tables[Options()]] == ["0.05"] * 2
    assert [row[6] for row in tables[Options(select="test")]] == ["0.2"] * 2
    assert [row[4] for row in tables[Options(at="best")]] == ["+25.0 ± 0.0"] * 2


def test_several_methods_have_a_picture_by_radius_each():
    results = results_table(growing, methods=("sgd", "sam", "unnormalized-sam"))
    spec = Spec(study="overparam", methods=("sgd", "sam", "unnormalized-sam"))
    answer = answered(STUDIES["overparam"], results, spec)
    assert names(answer)[4:] == ["by-radius-sam", "by-radius-unnormalized-sam"]
    assert answer.pictures[-1].title == "Test accuracy against the radius of unnormalized SAM"


def test_label_noise_has_a_picture_by_radius_per_share():
    noise = (0.0, 0.2, 0.45)
    results = results_table(growing, label_noise=noise)
    answer = answered(STUDIES["label-noise"], results)
    by_radius = [picture for picture in answer.pictures if picture.name.startswith("by-radius")]
    assert [picture.name for picture in by_radius] == [
        f"by-radius-label-noise-{share}" for share in ("0", "0.2", "0.45")
    ]
    assert [picture.title.rpartition(", ")[2] for picture in by_radius] == [
        "label noise 0%",
        "label noise 20%",
        "label noise 45%",
    ]
    assert len(set(names(answer))) == len(answer.pictures)
    assert answer.question == STUDIES["label-noise"].question
    assert answer.findings[0].startswith("From label noise 0% to 45%, the slope")


@pytest.mark.parametrize("settings", ["weight_decay", "learning_rate"])
def test_other_settings_have_their_pictures(settings):
    results = results_table(growing, label_noise=(0.0, 0.2))
    results[settings] = results["label_noise"].map({0.0: 1e-4, 0.2: 5e-5})
    results["label_noise"] = 0.0
    assert names(answered(STUDIES["overparam"], results))[4:] == [
        f"by-radius-{settings.replace('_', '-')}-{value}" for value in ("5e-05", "0.0001")
    ]


def test_networks_have_their_table_and_learning_curves():
    results = results_table(growing)
    answer = answered(NETWORKS, results, Spec())
    assert names(answer) == ["learning-curves"]
    assert len(answer.tables[0].rows) == 2 * 3
    assert len(answer.pictures[0].figure.axes[0].lines) == 2 * 3
    assert answer.findings == ()


def test_methods_are_ranked_by_gain_with_their_cost():
    spec = Spec(study="methods", widths=(10,), methods=("sgd", "sam", "looksam"), budget="gradients", rhos=(0.05, 0.2))
    results = results_table(
        lambda n: growing(n) + (0.05 if n.method == "looksam" else 0.0), widths=(10,), methods=spec.methods
    )
    answer = answered(STUDIES["methods"], results, spec)
    (table,) = answer.tables
    assert [row[:2] for row in table.rows] == [("LookSAM", "1.2"), ("SAM", "2"), ("SGD", "1")]
    assert names(answer) == ["gain", "by-radius"]
    assert answer.findings[:3] == (
        "2 of 2 methods gain over SGD beyond the spread of the seeds: LookSAM and SAM.",
        "LookSAM gains most: +11.3 ± 0.2 points.",
        "Seed by seed, better than SAM beyond the spread of the seeds: LookSAM; worse: none.",
    )
    assert "as many gradients for every method as SAM takes" in answer.setting


def test_small_gains_of_methods_have_two_decimals():
    spec = Spec(study="methods", widths=(10,), methods=("sgd", "sam"), budget="gradients", rhos=(0.05, 0.2))
    results = results_table(lambda n: growing(n) / 50, widths=(10,))
    answer = answered(STUDIES["methods"], results, spec)
    # Gains of 0.12, 0.126 and 0.132 points.
    assert answer.findings[1] == "SAM gains most: +0.13 ± 0.00 points."
    assert answer.tables[0].rows[0][5] == "+0.13 ± 0.00"


@pytest.mark.parametrize("argument", ["widths", "label_noise", "weight_decay", "learning_rate"])
def test_methods_are_compared_in_one_setting(argument):
    values = (8, 16) if argument == "widths" else (0.1, 0.2)
    spec = resolve(Spec(study="methods", **{"widths": (8,), argument: values}))
    with pytest.raises(UsageError, match="one setting") as error:
        STUDIES["methods"].check(spec)
    assert error.value.argument == argument
