"""Pruned against dense networks: on tables whose truth is known, and from the command line."""

import numpy as np
import pandas as pd
import pytest
from report.results_tables import results_table
from studies.commands import studied
from studies.described import tables

from widebasin.studies import STUDIES, Options
from widebasin.sweep import Spec, UsageError, resolve

SPARSITY = STUDIES["sparsity"]
# Gain in points of dense networks of 1,000 and 100,000 parameters, and of the large one pruned.
GAINS = {("none", 10): 1.0, ("none", 100): 4.0, ("random", 100): 1.0, ("snip", 100): 3.5}
# Best radius on validation.
BEST = {("none", 10): 0.05, ("none", 100): 0.2, ("random", 100): 0.05, ("snip", 100): 0.2}


def part(pruner, sparsity, widths, num_params=None, noise=lambda seed: 0.1 * seed, scale=1.0, **options):
    """Networks of one kind; a gain is a little more with every seed, 10 points less at the other radius.

    All gains are so many times those above.
    """

    def test(network):
        which = pruner, network.width
        if network.method == "sgd":
            return 0.5 + 0.02 * network.seed
        gain = scale * (GAINS[which] + noise(network.seed) * (1 + 1e-5 * network.width))
        return 0.5 + 0.02 * network.seed + gain / 100 - (0.0 if network.rho == BEST[which] else 0.1)

    table = results_table(test, widths=widths, **options).assign(pruner=pruner, sparsity=sparsity)
    return table if num_params is None else table.assign(num_params=num_params)


def compared(num_params=1_000, **options):
    """Two dense widths, and the larger one pruned in both ways to a number of parameters."""
    pruned = [part(pruner, 0.99, (100,), num_params, **options) for pruner in ("random", "snip")]
    dense = part("none", 0.0, (10, 100), scale=options.get("scale", 1.0))
    return pd.concat([dense, *pruned], ignore_index=True)


def answered(results, options=None):
    spec = resolve(
        Spec(study="sparsity", widths=(16, 32), rhos=(0.05, 0.2), prune="largest", pruners=("random", "snip"))
    )
    return SPARSITY.answer(spec, tables(results), options or Options())


def test_the_difference_at_equal_counts_is_that_of_the_gains_seed_by_seed():
    """With every seed, the gain grows by 0.4 points of pruned networks, by 0.1 of dense ones."""
    answer = answered(compared(noise=lambda seed: 0.4 * seed))
    # Differences of SNIP's: 2.5, 2.8 and 3.1 points; t at 97.5% with 2 degrees of freedom is 4.303.
    half = 4.3027 * 0.3 / 3**0.5
    assert answer.findings[:2] == (
        "Pruned at random, the largest network gains more from SAM than a dense one of as many parameters at 0 of 1 "
        f"sizes, and less at 0, beyond the spread of the seeds. Difference of the gains: +0.3 points (95% interval "
        f"{0.3 - half:+.1f} to {0.3 + half:+.1f}) at 1,000 parameters. The chosen radii differ at 0 of 1 sizes.",
        "Pruned by SNIP, the largest network gains more from SAM than a dense one of as many parameters at 1 of 1 "
        f"sizes, and less at 0, beyond the spread of the seeds. Difference of the gains: +2.8 points (95% interval "
        f"{2.8 - half:+.1f} to {2.8 + half:+.1f}) at 1,000 parameters. The chosen radii differ at 1 of 1 sizes.",
    )
    _, equal = answer.tables
    assert equal.columns[:2] == ("parameters", "large network")
    intervals = [f"{mean - half:+.1f} to {mean + half:+.1f}" for mean in (0.3, 2.8)]
    assert equal.rows == (
        ("1,000", "pruned at random", "99%", "+1.4", "+1.1", "+0.3", intervals[0], "0.05 / 0.05"),
        ("1,000", "pruned by SNIP", "99%", "+3.9", "+1.1", "+2.8", intervals[1], "0.2 / 0.05"),
    )


def test_small_gains_have_two_decimals_everywhere():
    """A twenty-fifth of the gains above: the differences of SNIP's are 0.1, 0.112 and 0.124 points."""
    answer = answered(compared(noise=lambda seed: 0.4 * seed, scale=0.04))
    half = 4.3027 * 0.012 / 3**0.5
    ends = [(mean - half, mean + half) for mean in (0.012, 0.112)]
    assert f"+0.11 points (95% interval {ends[1][0]:+.2f} to {ends[1][1]:+.2f}) at 1,000" in answer.findings[1]
    assert "from +0.04 ± 0.00 points at 1,000 parameters to +0.16 ± 0.00 at 100,000" in answer.findings[2]
    gains, equal = answer.tables
    assert gains.rows[-1][gains.columns.index("gain ± s.e. (points)")] == "+0.16 ± 0.01"
    assert [row[3:7] for row in equal.rows] == [
        ("+0.06", "+0.04", "+0.01", f"{ends[0][0]:+.2f} to {ends[0][1]:+.2f}"),
        ("+0.16", "+0.04", "+0.11", f"{ends[1][0]:+.2f} to {ends[1][1]:+.2f}"),
    ]


def test_a_pruned_network_that_gains_less_is_said_to():
    results = compared()
    sam = (results["pruner"] == "random") & (results["method"] == "sam")
    results.loc[sam, ["test_accuracy", "best_test_accuracy"]] -= 0.02 + 1e-5 * results.loc[sam, ["seed"]].to_numpy()
    first = answered(results).findings[0]
    assert "at 0 of 1 sizes, and less at 1, beyond" in first
    assert "Difference of the gains: -2.0 points (95% interval -2.0 to -2.0)" in first


@pytest.mark.parametrize(("count", "equal"), [(981, True), (1_019, True), (979, False), (1_021, False)])
def test_counts_within_two_percent_are_equal(count, equal):
    answer = answered(compared(num_params=count))
    assert len(answer.tables) == (2 if equal else 1)
    text = "Pruned, the largest network never has as many parameters as a dense one (within 2%): nothing is compared."
    assert (answer.findings[0] == text) == (not equal)


def test_the_dense_network_itself_is_no_match_of_a_barely_pruned_one():
    """Pruned by 1%, the large network has the count of the large dense one."""
    assert len(answered(compared(num_params=99_500)).tables) == 1


def test_every_way_of_pruning_is_a_series_by_size_and_by_sparsity():
    answer = answered(compared())
    (table, _) = answer.tables
    network = table.columns.index("network")
    assert [row[network] for row in table.rows] == ["dense", "dense", "pruned at random", "pruned by SNIP"]
    assert [picture.name for picture in answer.pictures] == [
        "gain", "gain-against-sparsity", "radius", "test-accuracy", "train-loss",
        "by-radius-network-dense", "by-radius-network-pruned-at-random", "by-radius-network-pruned-by-SNIP",
    ]  # fmt: skip
    assert answer.pictures[1].title == "Gain against sparsity of the network of width 100"
    assert any(f.startswith("Dense: the gain of SAM over SGD grows with the number") for f in answer.findings)


def lines(picture):
    """Label -> points of the labelled lines of a figure, those with bars too."""
    (axes,) = picture.figure.axes
    drawn = {one.get_label(): one for one in axes.lines}
    drawn |= {bars.get_label(): bars.lines[0] for bars in axes.containers}
    return {label: one.get_xydata() for label, one in drawn.items() if label and not label.startswith("_")}


def test_every_sparsity_has_its_line_by_radius():
    results = pd.concat([compared(), part("random", 0.75, (100,), 25_000)], ignore_index=True)
    by_radius = {one.name: lines(one) for one in answered(results).pictures if one.name.startswith("by-radius")}
    pruned = by_radius["by-radius-network-pruned-at-random"]
    # A gain of 1.1 points over 52% at the best radius, and 10 less at the other.
    expected = [[0.05, 53.1], [0.2, 43.1]]
    assert pruned.keys() == {"1,000", "25,000"}
    for count in ("1,000", "25,000"):
        np.testing.assert_allclose(pruned[count], expected, rtol=1e-5)
    assert by_radius["by-radius-network-dense"].keys() == {"1,000", "100,000"}


def test_where_every_width_is_pruned_lines_run_over_widths_at_one_sparsity():
    """One line over widths and sparsities would go to and fro."""
    results = [part("none", 0.0, (10, 100))]
    for sparsity in (0.5, 0.75):
        table = part("none", 0.0, (10, 100)).assign(pruner="random", sparsity=sparsity)
        results.append(table.assign(num_params=(table["num_params"] * (1 - sparsity)).astype(int)))
    answer = answered(pd.concat(results, ignore_index=True))
    gain = lines(answer.pictures[0])
    for name, counts in {
        "sparsity 0%, dense": (1_000, 100_000),
        "sparsity 50%, pruned at random": (500, 50_000),
        "sparsity 75%, pruned at random": (250, 25_000),
    }.items():
        np.testing.assert_allclose(gain[f"SAM, {name}"], np.c_[counts, [1.1, 4.1]], rtol=1e-4)
    by_radius = [one for one in answer.pictures if one.name.startswith("by-radius")]
    assert [one.name for one in by_radius] == [
        "by-radius-sparsity-0-network-dense",
        "by-radius-sparsity-0.5-network-pruned-at-random",
        "by-radius-sparsity-0.75-network-pruned-at-random",
    ]
    assert lines(by_radius[-1]).keys() == {"250", "25,000"}


def test_only_the_largest_network_is_compared_pruned():
    """The smaller one has, pruned, as many parameters as a third."""
    third = part("none", 0.0, (10,)).assign(width=5, num_params=500)
    pruned = part("none", 0.0, (10,), 500).assign(pruner="random", sparsity=0.5)
    assert len(answered(pd.concat([compared(), third, pruned], ignore_index=True)).tables[1].rows) == 2


def test_one_seed_gives_a_difference_without_interval():
    results = compared()
    answer = answered(results[results["seed"] == 0])
    assert "Difference of the gains: +2.5 points (one seed, no interval)" in answer.findings[1]
    assert "at 0 of 1 sizes, and less at 0" in answer.findings[1]
    assert answer.tables[1].rows[1][5:7] == ("+2.5", "—")


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one", "all"])
def test_where_networks_diverged_there_is_no_difference_and_nothing_breaks(seeds):
    results = compared()
    lost = (results["pruner"] == "snip") & results["seed"].isin(seeds)
    results.loc[lost, "diverged"] = True
    results.loc[lost, [c for c in results if c.endswith(("loss", "accuracy"))]] = np.nan
    answer = answered(results)
    assert "Difference of the gains: none that is finite at 1,000 parameters." in answer.findings[1]
    assert answer.tables[1].rows[1][5:7] == ("—", "—")
    assert any("of the networks compared diverged" in finding for finding in answer.findings)


@pytest.mark.parametrize("argument", ["label_noise", "weight_decay", "learning_rate"])
def test_pruning_is_studied_in_one_setting(argument):
    with pytest.raises(UsageError, match="must be one value: the study compares dense and pruned networks"):
        SPARSITY.check(resolve(Spec(widths=(8, 16), prune="largest", **{argument: (0.1, 0.2)})))


@pytest.mark.parametrize("grid", [{"sparsity": (0.0,)}, {"prune": "largest", "widths": (16,)}])
def test_without_a_pruned_network_there_is_nothing_to_study(grid):
    with pytest.raises(UsageError, match=r"sparsity = .*must have a value above 0"):
        SPARSITY.check(resolve(Spec(**grid)))


@pytest.mark.slow
def test_the_command_prunes_the_large_network_to_the_small_ones_size_and_answers(tmp_path):
    page = studied("sparsity", tmp_path, "--widths", "4", "8")
    for way in ("at random", "by SNIP"):
        assert f"Pruned {way}, the largest network gains" in page
    results = pd.read_parquet(tmp_path / "out" / "results.parquet")
    dense, pruned = results[results["sparsity"] == 0], results[results["sparsity"] > 0]
    assert sorted(dense["width"].unique()) == [4, 8]
    assert pruned["width"].unique().tolist() == [8]
    assert sorted(pruned["pruner"].unique()) == ["random", "snip"]
    small = dense.loc[dense["width"] == 4, "num_params"].iloc[0]
    np.testing.assert_allclose(pruned["num_params"], small, rtol=0.02)
