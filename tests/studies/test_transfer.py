"""The study of the transfer of learning rate and radius, on tables whose truth is known."""

import dataclasses

import numpy as np
import pytest
from report.transfer_tables import RADII, RATES, transfer_table
from studies.described import description

from widebasin.report.page import image
from widebasin.studies import STUDIES, Options
from widebasin.studies.chance import with_chance
from widebasin.studies.references import with_references
from widebasin.studies.tables import Tables
from widebasin.sweep import Spec, UsageError, resolve

TRANSFER = STUDIES["transfer"]


def tables(results, **facts) -> Tables:
    metric = "word_error_rate" if "test_word_error_rate" in results else "accuracy"
    said = dataclasses.replace(description(metric), **facts)
    return Tables(results, results, said)


def answered(results, options=None, **given):
    kinds = tuple(dict.fromkeys(results["parametrization"]))
    grid = {"widths": (10, 100), "learning_rate": RATES, "rhos": RADII, "parametrization": kinds} | given
    return TRANSFER.answer(
        resolve(Spec(study="transfer", label_noise=(0.0,), **grid)), tables(results), options or Options()
    )


def test_the_findings_say_how_far_learning_rate_and_radius_move_and_what_that_costs():
    findings = answered(transfer_table(spread=0.1)).findings
    assert findings[0].startswith(
        "With standard parametrization: the best learning rate of SGD falls with the width: from 0.22 at width 10 to "
        "0.11 at width 100, -1.00 factors of two (95% interval -1.00 to -1.00); -0.30 per doubling of the width"
    )
    assert findings[2].startswith("With standard parametrization: the best radius of SAM rises with the width: from")
    assert "+1.50 factors of two (95% interval +1.50 to +1.50)" in findings[2]
    text = "\n".join(findings)
    assert (
        "With standard parametrization: at width 100, the learning rate of width 10 instead of its own costs SGD +"
        in text
    )
    assert (
        "With mup2 parametrization: the learning rate and radius that are best at width 10 for SAM are the best tried "
        "at width 100 too." in text
    )
    assert "Standard parametrization: the gain of SAM over SGD " in text
    assert "of the networks" not in text
    assert findings[-1].startswith("Learning rate and radius were chosen on the validation split")


def test_tables_have_the_movement_the_optima_the_costs_and_the_gains():
    moved, best, costs, gains = answered(transfer_table()).tables
    assert len(moved.rows) == 3 * 3
    assert moved.rows[2][:6] == ("standard", "SAM", "radius", "0.11", "0.311", "+1.50")
    assert len(best.rows) == 3 * 2 * 2
    assert best.rows[0][4:6] == ("0.2", "0.22")
    assert [row[-3:-1] for row in costs.rows if row[0] == "mup2"] == [("0", "—")] * 2
    assert len(gains.rows) == 3 * 2
    for table in (moved, best, costs, gains):
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_every_figure_can_be_written():
    pictures = answered(transfer_table()).pictures
    assert [picture.name for picture in pictures] == [
        "heat-maps",
        "best-learning-rate",
        "best-radius",
        "cost",
        "by-radius",
        "by-learning-rate",
        "gain",
    ]
    assert all(image(picture.figure, "svg") for picture in pictures)


def test_one_parametrization_is_not_named_and_one_learning_rate_does_not_move():
    answer = answered(transfer_table(("mup",), rates=(0.2,), metric="word_error_rate"))
    assert answer.findings[0].startswith("The best radius of SAM rises with the width:")
    assert "parametrization" not in "".join((*answer.findings, *answer.tables[0].columns))
    assert not any("learning rate of SGD" in finding for finding in answer.findings)
    assert [p.name for p in answer.pictures] == ["heat-maps", "best-radius", "cost", "by-radius", "gain"]


def test_edges_and_diverged_networks_are_told():
    results = transfer_table(
        ("standard",), rates=(0.1, 0.2), diverged=lambda n, rate: n.width == 100 and rate == 0.2 and n.seed == 1
    )
    text = "\n".join(answered(results).findings)
    assert "Best at an end of those tried, so that the movement may be larger than found: the " in text
    assert (
        "the largest learning rate of SGD (0.2) at width 10; the smallest learning rate of SGD (0.1) at width 1" in text
    )
    assert "At width 100, 1 of 5 networks of SGD diverge with the learning rate of width 10, so there is no" in text
    assert "6 of 120 networks of the grid diverged, at learning rates from 0.2 to 0.2" in text


def test_where_all_diverged_or_only_guess_nothing_is_best():
    results = transfer_table()
    lost = results.assign(diverged=True, diverged_epoch=1)
    lost[[name for name in lost if "accuracy" in name]] = np.nan
    answer = answered(lost)
    assert not any("best tried" in finding or "end of those tried" in finding for finding in answer.findings)
    assert sum("no learning rate" in f and "a finite test accuracy" in f for f in answer.findings) == 2 * 3
    assert {row[-3:-1] for row in answer.tables[2].rows} == {("—", "—")}

    recommended = "At other widths: --parametrization mup2"
    assert any(recommended in finding for finding in answered(results).findings)
    guessing = tables(results.assign(train_accuracy=0.1), chance=0.1)
    spec = resolve(Spec(study="transfer", widths=(10, 100), learning_rate=RATES, rhos=RADII, label_noise=(0.0,)))
    assert not any(recommended in finding for finding in TRANSFER.answer(spec, guessing, Options()).findings)


def test_one_seed_has_findings_without_intervals():
    findings = answered(transfer_table(seeds=(0,))).findings
    assert "the best learning rate of SGD goes from 0.22 at width 10 to 0.11 at width 100, -1.00" in findings[0]
    assert "(one seed, no interval)" in findings[0]


def test_simple_models_and_networks_at_chance_are_told_with_several_learning_rates():
    results = transfer_table(("mup",)).assign(train_accuracy=0.99)
    results.loc[results["learning_rate"] == 0.4, "train_accuracy"] = 0.1
    known = tables(results, chance=0.1, references={"logistic regression": 0.9})
    answer = with_references(
        with_chance(answered(results), known, Options(), TRANSFER.epochs_of_gains(Options())), known
    )
    assert "60 of 240 networks ended at chance" in answer.findings[-2]
    assert "logistic regression 90.0%" in answer.findings[-1]
    # Equal is no better, though these are kept in 32 bits.
    reached = np.float32(0.9) - (results.index % 2).to_numpy(np.float32)
    equal = tables(results.assign(test_accuracy=reached), chance=0.1, references={"logistic regression": 0.9})
    assert "0 of 240 networks are better than that" in with_references(answered(results), equal).findings[-1]
    assert len(answer.tables[-1].rows) == 2 * (1 + len(RADII))


def test_the_study_needs_two_methods_widths_and_trials_and_one_setting():
    TRANSFER.check(resolve(TRANSFER.spec))
    for argument, changed in (
        ("methods", {"methods": ("sgd",)}),
        ("methods", {"methods": ("sgd", "sam", "asam")}),
        ("methods", {"methods": ("asam", "sam")}),
        ("widths", {"widths": (8,), "base_width": 8}),
        ("learning_rate", {"learning_rate": (0.1,), "rhos": (0.1,)}),
        ("weight_decay", {"weight_decay": (0.0, 0.1)}),
        ("tune", {"tune": ("learning_rate",)}),
    ):
        with pytest.raises(UsageError) as error:
            TRANSFER.check_grid(resolve(dataclasses.replace(TRANSFER.spec, **changed)))
        assert error.value.argument == argument
