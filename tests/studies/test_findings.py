import re

import numpy as np
import pandas as pd
import pytest
from report.results_tables import design_of, gains_of, growing, paired_of, results_table, wording_for
from studies.described import description, tables

from widebasin.studies.findings import growth_left, selection_note, setting_sentence, slope_change, trends
from widebasin.studies.study import Options


def linear(slope, spread=1e-5, start=0.0):
    """Test accuracy with a gain of ``start`` and ``slope`` per decade over 1,000 parameters; seeds differ by spread."""

    def value(network):
        if network.method == "sgd":
            return 0.5
        return 0.5 + start + (slope + spread * (network.seed - 1)) * (np.log10(network.num_params) - 3)

    return value


def found(results, radii=(0.05, 0.2)):
    return trends(gains_of(results), paired_of(results), wording_of(results), dict.fromkeys(results["method"], radii))


def wording_of(results):
    return wording_for(design_of(results).metric)


def changed(results):
    return slope_change(gains_of(results), paired_of(results), wording_of(results), "label_noise")


def results(test, **options):
    return results_table(test, options.pop("valid", lambda n: 0.5 - abs(n.rho - 0.1)), rhos=(0.05, 0.1, 0.2), **options)


@pytest.mark.parametrize(
    ("slope", "verdict"),
    [
        (0.02, "grows with the number of parameters"),
        (-0.02, "shrinks with the number of parameters"),
        (0.0, "shows no trend beyond the spread of the seeds"),
        (0.002, "shows no trend beyond the spread of the seeds"),
    ],
)
def test_verdict_on_the_gain(slope, verdict):
    (sentence,) = found(results(linear(slope, spread=0.002), widths=(10, 30, 100)))
    assert verdict in sentence
    verdicts = ("grows with", "shrinks with", "no trend")
    assert sum(word in sentence for word in verdicts) == 1


def test_sentence_has_the_numbers_of_the_table():
    (sentence,) = found(results(linear(0.02, spread=0.002, start=0.01), widths=(10, 100)))
    # Gains of 1, 1, 1 and 4.6, 5, 5.4 points: errors 0 and 0.4 / sqrt 3; slopes 1.8, 2, 2.2; t_{0.975, 2} = 4.303.
    assert sentence == (
        "The gain of SAM over SGD grows with the number of parameters: from +1.0 ± 0.0 points at 1,000 parameters to "
        "+5.0 ± 0.2 at 100,000; slope +2.0 points per tenfold parameters (95% interval +1.5 to +2.5)."
    )


def test_a_loss_is_in_its_own_unit():
    table = results(
        lambda n: 1.0 - 0.1 * linear(1.0)(n), metric="loss", valid=lambda n: abs(n.rho - 0.1), seeds=(0, 1, 2)
    )
    (sentence,) = found(table)
    assert "points" not in sentence
    assert "grows" in sentence
    assert "to +0.2000 ± 0.0000 at 100,000" in sentence


def test_one_seed_has_no_verdict():
    (sentence,) = found(results(linear(0.02), seeds=(1,)))
    assert sentence == (
        "The gain of SAM over SGD goes from +0.0 points at 1,000 parameters to +4.0 at 100,000; "
        "slope +2.0 points per tenfold parameters (one seed, no interval)."
    )
    table = results_table(growing, label_noise=(0.0, 0.4), seeds=(1,))
    (change,) = changed(table)
    assert change.endswith("(one seed, no interval): no verdict.")


def test_one_width_has_no_trend():
    (sentence,) = found(results(linear(0.02, start=0.03), widths=(10,), seeds=(0, 1, 2)))
    assert sentence == (
        "The gain of SAM over SGD is +3.0 ± 0.0 points at 1,000 parameters (equal values, no interval)."
    )
    (sentence,) = found(results(linear(0.02, start=0.03), widths=(10,), seeds=(0,)))
    assert sentence.endswith("(one seed, no interval).")
    (sentence,) = found(results(linear(0.02, start=0.03), widths=(10,), seeds=(0, 1)))
    assert sentence.endswith("(equal values, no interval).")


def test_radius_that_moves_is_told():
    sentences = found(
        results(linear(0.0), valid=lambda n: -abs(n.rho - {10: 0.05, 100: 0.1}[n.width])), radii=(0.01, 0.05, 0.1, 0.2)
    )
    assert "Chosen radius, smallest to largest network: from 0.05 to 0.1." in sentences


def test_rank_correlation_where_there_are_sizes_enough():
    best = {10: 0.05, 20: 0.05, 50: 0.1, 100: 0.2}
    table = results(linear(0.0), widths=tuple(best), valid=lambda n: -abs(n.rho - best[n.width]))
    (sentence,) = (s for s in found(table, radii=(0.01, 0.05, 0.1, 0.2, 0.5)) if s.startswith("Chosen radius"))
    # Ranks 1, 2, 3, 4 and 1.5, 1.5, 3, 4: correlation 4.5 / sqrt(5 * 4.5).
    assert f"rank correlation with size {4.5 / np.sqrt(22.5):+.2f}" in sentence


def test_largest_radius_tried_is_a_warning():
    table = results(linear(0.01), valid=lambda n: n.rho if n.width > 10 else -abs(n.rho - 0.1), widths=(10, 50, 100))
    assert (
        "The chosen radius is the largest tried (0.2) at 25,000 and 100,000 parameters: a larger one may do better."
    ) in found(table, radii=(0.05, 0.1, 0.2))
    assert not any("largest tried" in s for s in found(table, radii=(0.05, 0.1, 0.2, 0.5)))


def test_smallest_radius_tried_is_a_warning_where_the_method_loses():
    small = results(linear(0.0, start=-0.1), valid=lambda n: -n.rho)
    assert any("smallest tried (0.05) at 1,000 and 100,000" in s for s in found(small, radii=(0.05, 0.1, 0.2)))
    assert not any("smallest" in s and "tried" in s for s in found(small, radii=(0.0, 0.05, 0.1, 0.2)))
    winning = results(linear(0.0, start=0.1), valid=lambda n: -n.rho)
    assert not any("smallest tried" in s for s in found(winning, radii=(0.05, 0.1, 0.2)))


def test_a_single_radius_is_no_edge():
    table = results_table(growing, rhos=(0.05,))
    assert len(found(table, radii=(0.05,))) == 1


def test_diverged_networks_are_counted_once():
    table = results_table(
        growing, methods=("sgd", "sam", "unnormalized-sam"), diverged=lambda n: n.width == 10 and n.method == "sgd"
    )
    (sentence,) = (s for s in found(table, radii=(0.01, 0.5)) if "diverged" in s)
    assert sentence.startswith("3 of the networks compared diverged")
    assert not any("diverged" in s for s in found(results_table(growing)))


def test_no_finite_gain_is_said_and_not_printed_as_a_number():
    table = results_table(linear(0.02), metric="loss", diverged=lambda n: n.width == 100)
    text = " ".join(found(table))
    assert "nan" not in text
    assert "to no finite gain at 100,000" in text
    assert "of the networks compared diverged" in text


def test_a_gain_that_is_finite_nowhere_is_said_once_and_one_that_begins_so_has_no_unit():
    everywhere = " ".join(found(results_table(growing, diverged=lambda n: True)))
    assert "The gain of SAM over SGD is finite at none of the sizes" in everywhere
    assert "no finite gain points" not in everywhere
    first = " ".join(found(results_table(growing, diverged=lambda n: n.width == 10)))
    assert re.search(r"goes from no finite gain at 1,000 parameters to \+\S+ ± \S+ points at 100,000", first)


def test_settings_share_sentences():
    table = results_table(growing, label_noise=(0.0, 0.2, 0.4))
    sentences = found(table)
    assert [s[:16] for s in sentences[:3]] == ["Label noise 0%: ", "Label noise 20%:", "Label noise 40%:"]
    assert sentences[3:] == [
        "The chosen radius is the largest tried (0.2) at 1,000 and 100,000 parameters "
        "(label noise 0%, label noise 20%, label noise 40%): a larger one may do better."
    ]


def test_methods_have_their_names():
    sentences = found(results_table(growing, methods=("sgd", "sam", "unnormalized-sam")))
    assert sentences[0].startswith("The gain of SAM over SGD")
    assert sentences[1].startswith("The gain of unnormalized SAM over SGD")
    assert sentences[2].endswith("(SAM, unnormalized SAM): a larger one may do better.")


@pytest.mark.parametrize(
    ("per_noise", "verdict"),
    [(0.05, "it is higher at 40%"), (-0.05, "it is lower at 40%"), (0.0, "no difference beyond the spread")],
)
def test_slope_change_between_the_ends_of_label_noise(per_noise, verdict):
    def test(network):
        slope = 0.02 + 0.01 * network.seed + (per_noise + 0.001 * (network.seed - 1)) * network.label_noise
        return linear(slope, spread=0.0)(network)

    table = results_table(test, lambda n: 0.5, label_noise=(0.0, 0.2, 0.4))
    (sentence,) = changed(table)
    assert sentence.startswith("From label noise 0% to 40%, the slope of the gain of SAM changes by")
    assert f"changes by {100 * 0.4 * per_noise:+.1f} points per tenfold parameters" in sentence
    assert verdict in sentence


def test_a_slope_over_the_seeds_without_a_diverged_network_has_no_verdict():
    """Of five seeds two are left, whose gains grow; the ends are over all."""
    table = results_table(
        linear(0.02, spread=0.001),
        widths=(10, 30, 100),
        seeds=range(5),
        rhos=(0.1,),
        diverged=lambda n: n.width == 30 and n.method == "sam" and n.seed > 1,
    )
    first, *_ = found(table, radii=(0.1,))
    assert first.startswith("The gain of SAM over SGD goes from +0.0 ± 0.0 points at 1,000 parameters")
    assert first.endswith("over 2 of 5 seeds, those without a diverged network).")
    both = [table, results_table(linear(0.06, spread=0.001), widths=(10, 30, 100), seeds=range(5), rhos=(0.1,))]
    noisy = pd.concat([one.assign(label_noise=noise) for one, noise in zip(both, (0.0, 0.2), strict=True)])
    (change,) = changed(noisy.reset_index(drop=True))
    assert change.endswith("over 2 of 5 seeds, those without a diverged network): no verdict.")


def test_no_slope_change_without_two_settings_or_two_widths():
    for options in ({}, {"label_noise": (0.0, 0.2), "widths": (10,)}):
        table = results_table(growing, **options)
        assert changed(table) == []


@pytest.mark.parametrize(
    ("slope", "share", "verdict"),
    [
        (0.005, ", 25% of it; the difference is -1.5 (95% interval -1.5 to -1.5)", "lower beyond the seeds"),
        (0.03, "; the difference is +1.0 (95% interval +1.0 to +1.0)", "higher beyond the seeds"),
        (-0.01, "; the difference is -3.0 (95% interval -3.0 to -3.0)", "lower beyond the seeds"),
    ],
)
def test_how_much_of_the_growth_is_left_in_another_parametrization(slope, share, verdict):
    """2 points per tenfold parameters in the standard one; the radius grows from .1 to .2 there alone."""
    tables = [
        results_table(
            linear(slope, spread=0.0011 if grows else 0.001),
            lambda n, grows=grows: 0.5 - abs(n.rho - (0.2 if grows and n.width > 10 else 0.1)),
            rhos=(0.1, 0.2),
            widths=(10, 100),
        ).assign(parametrization=kind)
        for kind, slope, grows in (("standard", 0.02, True), ("mup2", slope, False))
    ]
    table = pd.concat(tables, ignore_index=True)
    wording = wording_of(table)
    (sentence,) = growth_left(gains_of(table), paired_of(table), wording)
    assert sentence == (
        "The slope of the gain of SAM is +2.0 points per tenfold parameters with standard parametrization and "
        f"{100 * slope:+.1f} with mup2{share}: {verdict}. The chosen radius goes from 0.1 to 0.2 with standard, and "
        "from 0.1 to 0.1 with mup2."
    )
    assert growth_left(gains_of(tables[0]), paired_of(tables[0]), wording) == []
    assert growth_left(gains_of(tables[1]), paired_of(tables[1]), wording) == []


def test_selection_on_test_is_said_to_be_optimistic():
    assert selection_note(Options()) == (
        "The radius was chosen on the validation split, the gain is on the test split (final epoch)."
    )
    note = selection_note(Options(select="test", at="best"))
    assert "chosen on the test split itself (best validation epoch)" in note
    assert "optimistic" in note


def test_seeds_that_had_no_part_in_the_choice_are_named():
    def note(lost, **options):
        table = results(linear(0.02), valid=lambda n: np.nan if n.seed in lost else 0.5, seeds=(0, 1, 2))
        return selection_note(Options(**options), tables(table))

    assert note(()) == selection_note(Options())
    assert note((1,)).endswith("The accuracy on the validation split has no value for seed 1: no part in the choice.")
    assert "has no value for seeds 0 and 2: no part" in note((0, 2))
    assert note((0, 1, 2)).endswith("no part in the choice; where no seed has one, the smallest radius was taken.")
    undefined = results(lambda n: np.nan if n.seed == 1 else 0.5, valid=lambda n: 0.5, seeds=(0, 1, 2))
    assert selection_note(Options(), tables(undefined)).endswith(
        "The accuracy on the test split has no value for seed 1: no part in gains and their means."
    )
    assert note((1,), select="test") == selection_note(Options(select="test"))


def test_the_setting_is_the_title_and_the_recipe():
    assert setting_sentence(description()) == "a made-up problem; 60 epochs; batch 32; seeds 0 to 2."
