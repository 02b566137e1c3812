"""The lazy regime: on tables whose truth is known, and from the command line."""

import numpy as np
import pandas as pd
import pytest
from report.results_tables import results_table
from studies.commands import studied
from studies.described import description
from studies.described import tables as tables_of

from widebasin.studies import STUDIES, Options
from widebasin.studies.measuring import measure
from widebasin.studies.tables import design_of
from widebasin.sweep import Spec, UsageError, resolve
from widebasin.sweep.folder import ResultsFolder

LINEARIZED = STUDIES["linearized"]
# Gain in points, and share of the activations that SGD leaves as they were, by scale.
GAINS = {1.0: 2.0, 100.0: 0.0, 1e4: -12.0}
UNCHANGED = {1.0: 0.6, 100.0: 0.9, 1e4: 0.999}


def tables(scales=(1.0, 100.0, 1e4), seeds=(0, 1, 2), share_of_gains=1.0):
    """One width; best at radius 0.05, where SAM leaves a tenth less of the activations than SGD, at 0.2 half."""

    def test(scale):
        def value(network):
            if network.method == "sgd":
                return 0.5 + 0.01 * network.seed
            gain = GAINS[scale] + 0.1 * network.seed - (0.0 if network.rho == 0.05 else 5.0)
            return 0.5 + 0.01 * network.seed + share_of_gains * gain / 100

        return value

    results = pd.concat(
        [results_table(test(scale), widths=(8,), seeds=seeds).assign(output_scale=scale) for scale in scales],
        ignore_index=True,
    )
    identity = list(results.columns[: results.columns.get_loc("epochs")])
    share = results["output_scale"].map(UNCHANGED) * results["rho"].map({0.0: 1.0, 0.05: 0.9, 0.2: 0.5})
    activations = results[identity].assign(examples=256, unchanged=share + 0.001 * (results["seed"] - 1))
    return tables_of(results, {"activations": activations})


def answered(found, **grid):
    spec = {"workload": "digits-vgg11-lazy", "widths": (8,), "rhos": (0.05, 0.2), **grid}
    return LINEARIZED.answer(resolve(Spec(study="linearized", **spec)), found, Options())


def curves(figure):
    return {line.get_label(): np.asarray(line.get_xydata()) for line in figure.axes[0].lines}


def test_gain_and_stability_are_told_of_both_ends():
    half = 4.3027 * 0.1 / 3**0.5
    assert answered(tables()).findings == (
        "Where the network is least linear (alpha = 1; 60.0% of the activations are unchanged after SGD), SAM gains "
        f"+2.1 points (95% interval {2.1 - half:+.1f} to {2.1 + half:+.1f}) at radius 0.05.",
        "Where the network is most linear (alpha = 10000; 99.9% of the activations are unchanged after SGD), SAM gains "
        f"-11.9 points (95% interval {-11.9 - half:+.1f} to {-11.9 + half:+.1f}) at radius 0.05.",
        "SAM loses beyond the spread of the seeds at 1 of 3 scales: alpha = 10000.",
        "The chosen radius is the smallest tried (0.05) at 640 parameters (output scale 10000): a smaller one may do "
        "better.",
        "The radius was chosen on the validation split, the gain is on the test split (final epoch).",
    )


def test_small_gains_have_two_decimals():
    answer = answered(tables(share_of_gains=0.04))
    half = 4.3027 * 0.004 / 3**0.5
    words = f"SAM gains +0.08 points (95% interval {0.084 - half:+.2f} to {0.084 + half:+.2f}) at radius 0.05."
    assert answer.findings[0].endswith(words)
    assert "+0.08 ± 0.00" in answer.tables[0].rows[0]


def test_figures_draw_every_method_at_its_own_radius():
    metric, unchanged = (picture.figure for picture in answered(tables()).pictures)
    scales = np.array(list(GAINS))
    accuracy = curves(metric)
    np.testing.assert_allclose(accuracy["SGD"], np.c_[scales, [51.0] * 3])
    np.testing.assert_allclose(accuracy["SAM"], np.c_[scales, [51.1 + gain for gain in GAINS.values()]])
    shares = curves(unchanged)
    np.testing.assert_allclose(shares["SGD"], np.c_[scales, [100 * share for share in UNCHANGED.values()]])
    np.testing.assert_allclose(shares["SAM"], np.c_[scales, [90 * share for share in UNCHANGED.values()]])


def test_one_scale_is_told_of_once():
    findings = answered(tables(scales=(100.0,)), output_scale=(100.0,)).findings
    assert [finding.split(",")[0] for finding in findings if "alpha = 100;" in finding] == [
        "At one scale (alpha = 100; 90.0% of the activations are unchanged after SGD)"
    ]
    assert "SAM loses beyond the spread of the seeds at 0 of 1 scales." in findings


def test_one_seed_has_no_interval():
    answer = answered(tables(seeds=(1,)))
    assert "SAM gains +2.1 points (one seed, no interval) at radius 0.05." in answer.findings[0]
    assert not any("spread of the seeds" in finding for finding in answer.findings)
    titles = [picture.figure.legends[0].get_title().get_text() for picture in answer.pictures]
    assert not any("interval" in title for title in titles)


def test_networks_that_diverged_have_neither_gain_nor_activations():
    """All of them at one scale: the other scales are told of as before."""
    found = tables()
    results, activations = found.results, found.measured["activations"]
    lost = results["output_scale"] == 1e4
    results.loc[lost, "diverged"] = True
    results.loc[lost, [c for c in results if c.endswith(("loss", "accuracy"))]] = np.nan
    activations.loc[lost, "unchanged"] = np.nan
    answer = answered(found)
    assert answer.findings[0] == answered(tables()).findings[0]
    assert "it is not known how many are unchanged after SGD), SAM gains nothing that is finite" in answer.findings[1]
    # Three seeds of SGD, three of SAM at one radius.
    assert "6 of the networks compared diverged." in answer.findings
    np.testing.assert_array_equal(curves(answer.pictures[1].figure)["SAM"][:, 0], [1.0, 100.0])


@pytest.mark.parametrize("argument", ["widths", "sparsity", "label_noise", "weight_decay", "learning_rate"])
def test_scales_are_studied_in_one_setting(argument):
    values = (4, 8) if argument == "widths" else (0.1, 0.2)
    with pytest.raises(UsageError, match="must be one value: the study compares scales in one setting") as error:
        LINEARIZED.check(resolve(Spec(**{"workload": "digits-vgg11-lazy", "widths": (8,), argument: values})))
    assert error.value.argument == argument


def test_a_model_with_activations_and_a_scale_are_needed():
    with pytest.raises(UsageError, match=r"output_scale = .*: must be scales alpha, such as 1 100"):
        LINEARIZED.check(resolve(Spec(workload="digits-mlp", widths=(8,))))
    with pytest.raises(UsageError, match="must have a vgg11 or mlp, such as digits-vgg11-lazy"):
        LINEARIZED.check(resolve(Spec(workload="least-squares", widths=(20,), output_scale=(1.0,))))
    with pytest.raises(UsageError, match=r"sparsity = .*: must be 0"):
        LINEARIZED.check(resolve(Spec(workload="digits-mlp", widths=(8,), output_scale=(1.0,), sparsity=(0.5,))))
    plain = {"workload": "digits-mlp", "widths": (8,), "weight_decay": (0.0,)}
    LINEARIZED.check(resolve(Spec(**plain, output_scale=(1.0,))))
    LINEARIZED.check(resolve(Spec(**plain, output_scale=(1e4,), precision="float64")))
    with pytest.raises(UsageError, match=r"precision = .*: must be float64 for scales of 1000 and more"):
        LINEARIZED.check(resolve(Spec(**plain, output_scale=(1e4,))))
    with pytest.raises(UsageError, match=r"weight_decay = .*: must be 0"):
        LINEARIZED.check(resolve(Spec(workload="digits-mlp", widths=(8,), output_scale=(1.0,))))


@pytest.mark.slow
def test_the_command_measures_activations_and_goes_on_where_it_was_interrupted(tmp_path):
    arguments = (
        "--workload",
        "digits-squared-mlp",
        "--widths",
        "4",
        "--output-scale",
        "1",
        "1e4",
        "--precision",
        "float64",
        "--samples",
        "32",
    )
    page = studied("linearized", tmp_path, *arguments, options=Options(samples=32))
    assert "Where the network is least linear (alpha = 1;" in page
    assert "Where the network is most linear (alpha = 10000;" in page
    folder = ResultsFolder(tmp_path / "out")
    found = folder.measurements("activations")
    own = found[found["samples"] == 32]
    assert len(own) == 2 * 2 * 2
    assert (own["examples"] == 32).all()
    # SGD hardly moves the weights there.
    lazy = own[(own["method"] == "sgd") & (own["output_scale"] == 1e4)]
    assert lazy["unchanged"].min() > 0.99
    # As an interruption leaves it: some networks are measured, the others are not.
    folder.write_measurements("activations", own.iloc[:5])
    asked = []

    def track(networks, title):
        asked.extend(networks)
        return networks

    (instrument,) = LINEARIZED.instruments(folder.spec(), Options(samples=32))
    again = measure(folder, instrument, folder.results(), design_of(description()), track)
    assert asked == [5, 6, 7]
    pd.testing.assert_frame_equal(again, own.reset_index(drop=True)[list(again.columns)])
