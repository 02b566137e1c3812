import pytest
from report.results_tables import METRICS, growing, results_table
from studies.described import tables

from widebasin.studies import STUDIES, Options
from widebasin.studies.registry import NETWORKS
from widebasin.sweep import Spec, UsageError, resolve
from widebasin.sweep.description import Published


def answered(study, results, spec=None, options=None, **facts):
    spec = resolve(spec or Spec(study=study.name, rhos=(0.05, 0.2)))
    return study.answer(spec, tables(results, **facts), options or Options())


def names(answer):
    return [picture.name for picture in answer.pictures]


def test_overparam_has_table_findings_and_pictures():
    answer = answered(STUDIES["overparam"], results_table(growing))
    assert names(answer) == ["gain", "radius", "test-accuracy", "train-loss", "by-radius"]
    (table,) = answer.tables
    assert len(table.rows) == 2
    assert answer.findings[0].startswith("The gain of SAM over SGD grows with the number of parameters")
    assert "largest tried (0.2)" in answer.findings[1]
    assert answer.findings[-1].startswith("The radius was chosen on the validation split")
    assert answer.question == STUDIES["overparam"].question


@pytest.mark.parametrize("name", METRICS)
def test_overparam_answers_for_every_metric(name):
    """SAM has a little more of whatever it is, the more the larger the network."""
    results = results_table(lambda n: METRICS[name].sign * growing(n), metric=name)
    answer = answered(STUDIES["overparam"], results)
    assert names(answer)[2] == f"test-{name.replace('_', '-')}"
    assert answer.pictures[2].title == f"Test {METRICS[name].title} against the number of parameters"
    assert answer.tables[0].title == f"Gain in test {METRICS[name].title} over SGD"
    assert answer.findings[0].startswith("The gain of SAM over SGD grows with the number of parameters")
    # Best at 0.2, whatever the loss says.
    assert "largest tried (0.2)" in answer.findings[1]


def test_sentences_tables_and_pictures_name_the_base_optimizer():
    answer = answered(STUDIES["overparam"], results_table(growing), optimizer="AdamW")
    assert answer.findings[0].startswith("The gain of SAM over AdamW grows")
    assert answer.tables[0].title.endswith("over AdamW")
    legend = answer.pictures[0].figure.legends[0].get_title().get_text()
    assert legend.startswith("gain of SAM over AdamW")
    shown = (*answer.findings, *answer.tables[0].columns, answer.tables[0].title, answer.setting)
    assert not any("SGD" in text for text in shown)


def test_the_setting_is_what_the_folder_says_of_its_sweep():
    answer = answered(STUDIES["overparam"], results_table(growing))
    assert answer.title == "SAM and overparameterization: a made-up problem"
    assert answer.setting == "a made-up problem; 60 epochs; batch 32; seeds 0 to 2."


# Gains in the setting of a table of results, and in others.
PUBLISHED = Published({1_000: 1.0, 9_000: 2.0}, "arXiv 1234.5678", {"label_noise": [0.0], "weight_decay": 1e-4})


def drawn(answer):
    """The published curve of the picture of gains by its label, and what the caption says."""
    (axes,) = answer.pictures[0].figure.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    return {label: points for label, points in lines.items() if label.startswith("published")}, answer.pictures[0].title


@pytest.mark.parametrize(
    ("noise", "curves"),
    [((0.0,), {"published"}), ((0.0, 0.3), {"published, label noise 0%"}), ((0.3,), set()), ((0.2, 0.3), set())],
)
def test_published_gains_are_drawn_for_the_rows_of_their_setting_and_no_others(noise, curves):
    results = results_table(growing, label_noise=noise)
    found, caption = drawn(answered(STUDIES["overparam"], results, published=PUBLISHED))
    assert found.keys() == curves
    assert all(points == [[1_000, 1.0], [9_000, 2.0]] for points in found.values())
    assert caption.endswith("; dashed: as published, arXiv 1234.5678") == bool(curves)


def test_what_is_no_column_must_be_so_in_the_spec():
    for epochs, there in ((60, True), (30, False)):
        published = Published(
            PUBLISHED.gains, PUBLISHED.source, PUBLISHED.setting | {"epochs": 60, "methods": ["sgd", "sam"]}
        )
        spec = Spec(study="overparam", rhos=(0.05, 0.2), epochs=epochs)
        found, _ = drawn(answered(STUDIES["overparam"], results_table(growing), spec, published=published))
        assert bool(found) == there


@pytest.mark.parametrize("name", ["label-noise", "regularization"])
def test_other_studies_draw_no_published_gains(name):
    spec = Spec(study=name, rhos=(0.05, 0.2))
    found, caption = drawn(answered(STUDIES[name], results_table(growing), spec, published=PUBLISHED))
    assert (found, caption) == ({}, "Gain against the number of parameters")


def test_options_change_what_is_read():
    results = results_table(
        growing,
        lambda n: -n.rho,
        best_test=lambda n: 0.5 if n.method == "sgd" else 0.75,
        best_valid=lambda n: -n.rho,
    )
    rows = {
        options: answered(STUDIES["overparam"], results, options=options).tables[0].rows
        for options in (Options(), Options(select="test"), Options(at="best"))
    }
    assert [row[6] for row in rows[Options()]] == ["0.05"] * 2
    assert [row[6] for row in rows[Options(select="test")]] == ["0.2"] * 2
    assert [row[4] for row in rows[Options(at="best")]] == ["+25.0 ± 0.0"] * 2


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
        lambda n: growing(n) + (0.05 + 1e-5 * n.seed if n.method == "looksam" else 0.0),
        widths=(10,),
        methods=spec.methods,
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
    assert answer.setting.startswith("width 10; a made-up problem; ")


@pytest.mark.parametrize(
    ("test", "sentence"),
    [
        (lambda n: 0.5 - 0.1 * (n.method == "sam") - 0.2 * (n.method == "looksam"), "SAM comes nearest: -10.0 ± 0.0"),
        (lambda n: 0.5, "LookSAM and SAM come nearest: +0.00 points each"),
        (lambda n: float("nan"), "No method has a finite gain."),
    ],
)
def test_where_no_method_gains_none_is_said_to_gain_most(test, sentence):
    spec = Spec(study="methods", widths=(10,), methods=("sgd", "sam", "looksam"), budget="gradients", rhos=(0.05, 0.2))
    findings = answered(STUDIES["methods"], results_table(test, widths=(10,), methods=spec.methods), spec).findings
    assert any(sentence in finding for finding in findings[:2])
    assert "gains most" not in " ".join(findings)


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
