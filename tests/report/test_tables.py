import io
from collections import Counter

import pandas as pd
import pytest
from report.results_tables import METRICS, gains_of, growing, results_table, wording_for
from rich.console import Console
from together import together

from widebasin.report.tables import Table, decimals, gains_table, methods_table, networks_table

ACCURACY, LOSS = wording_for(), wording_for("loss")


def gains(**options):
    return gains_of(results_table(growing, **options))


def shown(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table.rich())
    return console.file.getvalue()


def test_text_of_a_small_table():
    test = {"sgd": (0.80, 0.82), "sam": (0.83, 0.87)}
    results = results_table(
        lambda n: test[n.method][n.seed], lambda n: n.rho, train_loss=lambda n: 1.0 - n.rho, widths=(40,), seeds=(0, 1)
    )
    assert gains_table(gains_of(results), ACCURACY) == Table(
        title="Gain in test accuracy over SGD",
        columns=(
            "width",
            "parameters",
            "SGD %",
            "SAM %",
            "gain ± s.e. (points)",
            "95% interval",
            "rho*",
            "train loss SGD → SAM",
        ),
        rows=(("40", "16,000", "81.0", "85.0", "+4.0 ± 1.0", "-8.7 to 16.7", "0.2", "1.00 → 0.800"),),
        note="Gain: percentage points, mean paired difference over 2 seeds. s.e.: standard error; interval: Student t. "
        "Two seeds say little about either.",
    )


def test_a_loss_has_its_name_and_four_digits():
    results = results_table(
        lambda n: 0.0123456 if n.method == "sgd" else 0.0100001 + n.seed * 1e-4, metric="loss", widths=(10,)
    )
    table = gains_table(gains_of(results), LOSS)
    assert table.columns[2:5] == ("SGD loss", "SAM loss", "gain ± s.e.")
    assert table.rows[0][2:5] == ("0.01235", "0.01010", "+0.00225 ± 0.00006")
    assert table.note.startswith("Gain: decrease of the loss, ")


def test_one_seed_shows_no_interval_and_no_error():
    table = gains_table(gains(seeds=(0,), widths=(10,)), ACCURACY)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["gain ± s.e. (points)"] == "+6.0"
    assert row["95% interval"] == "—"
    assert table.note.endswith("over 1 seed. One seed gives no interval.")


def test_several_methods_have_a_column():
    table = gains_table(gains(methods=("sgd", "sam", "unnormalized-sam"), widths=(10,)), ACCURACY)
    assert "method %" in table.columns
    assert [row[table.columns.index("method")] for row in table.rows] == ["SAM", "unnormalized SAM"]
    assert "method" not in gains_table(gains(), ACCURACY).columns


def test_settings_that_vary_have_columns_and_keep_their_rows_together():
    table = gains_table(gains(label_noise=(0.0, 0.35)), ACCURACY)
    assert [row[:3] for row in table.rows] == [
        ("0%", "10", "1,000"),
        ("0%", "100", "100,000"),
        ("35%", "10", "1,000"),
        ("35%", "100", "100,000"),
    ]
    assert table.columns[:3] == ("label noise", "width", "parameters")


def test_diverged_networks_have_a_column_only_where_there_are_some():
    assert not any("diverged" in column for column in gains_table(gains(), ACCURACY).columns)
    table = gains_table(gains(diverged=lambda n: n.width == 10 and n.method == "sgd" and n.seed > 0), ACCURACY)
    assert table.columns[-1] == "diverged SGD+SAM"
    assert [row[-1] for row in table.rows] == ["2+0", "0+0"]


def test_no_number_is_a_dash():
    results = results_table(growing, metric="loss", diverged=lambda n: n.width == 10)
    table = gains_table(gains_of(results), LOSS)
    assert table.rows[0][2:6] == ("—",) * 4
    assert table.rows[0][7] == "— → —"
    assert not any("nan" in cell for row in table.rows for cell in row)


@pytest.mark.parametrize(
    ("values", "digits"), [((0.5, 2.0, 900.0), 3), ((0.0812,), 5), ((123.0, float("nan")), 1), ((), 4), ((0.0,), 4)]
)
def test_decimals_show_four_digits_of_the_middle_loss(values, digits):
    assert decimals(LOSS.metric, values) == digits
    assert decimals(ACCURACY.metric, values) == 1


def test_a_loss_far_below_those_of_other_rows_keeps_its_digits():
    """From a network that does not fit to one that interpolates."""
    losses = {10: 0.14, 30: 0.0125, 100: 4.04e-7}
    results = results_table(
        lambda n: losses[n.width] * (1 if n.method == "sgd" else 0.5), metric="loss", widths=tuple(losses)
    )
    rows = gains_table(gains_of(results), LOSS).rows
    assert [row[2:4] for row in rows] == [
        ("0.14000", "0.07000"), ("0.01250", "0.00625"), ("0.0000004040", "0.0000002020")
    ]  # fmt: skip
    falling = results_table(lambda n: 0.14 if n.method == "sgd" else 4.04e-7, metric="loss", widths=(10,))
    assert gains_table(gains_of(falling), LOSS).rows[0][2:4] == ("0.1400000000", "0.0000004040")
    assert rows[-1][4] == "+0.0000002020 ± 0.0000000000"
    losses = {(row[1], row[2]): row[-3] for row in networks_table(results, LOSS).rows}
    assert losses["100,000", "SGD"] == "0.0000004040"


def test_terminal_of_100_columns_shows_every_cell_whole():
    table = gains_table(gains(widths=(10, 100, 1000)), ACCURACY)
    text = shown(table, 100)
    for row in table.rows:
        (line,) = (line for line in text.splitlines() if f" {row[1]} " in line)
        assert [cell for cell in row if cell not in line] == []
    assert max(map(len, text.splitlines())) <= 100


def test_narrow_terminals_show_every_number():
    methods, noise = ("sgd", "sam", "unnormalized-sam"), (0.0, 0.4)
    wide = gains_table(gains(methods=methods, label_noise=noise, diverged=lambda n: n.seed == 0), ACCURACY)
    for table, width in ((wide, 100), (gains_table(gains(), ACCURACY), 80)):
        words = shown(table, width).split()
        numbers = {word for row in table.rows for cell in row for word in cell.split() if any(map(str.isdigit, word))}
        assert numbers <= set(words)


WIDE = Table(
    "Curvature",
    ("width", "parameters", "method", "rho", "networks", "gradient norm", "non-uniformity s2", "trace ± s.e."),
    tuple(
        (
            str(8 * k),
            f"{25_482 * k:,}",
            "unnormalized SAM",
            "0.005",
            "5",
            "1.25e-05 ± 3.1e-07",
            "25.4821",
            "-8.7 to 16.75",
        )
        for k in range(1, 5)
    ),
    "A note about it, of some length, that is broken over lines where it must.",
)


@together(
    ("width", "justify"), [(width, justify) for width in (160, 100, 80, 60, 40, 32) for justify in ("left", "right")]
)
def test_no_number_is_broken_and_nothing_is_wider_than_the_terminal(width, justify):
    console = Console(file=io.StringIO(), width=width)
    console.print(WIDE.rich(justify))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    words = Counter(text.split())
    numbers = Counter(word for row in WIDE.rows for cell in row for word in cell.split() if any(map(str.isdigit, word)))
    assert all(words[number] >= count for number, count in numbers.items())
    for word in (*" ".join(WIDE.columns).split(), *WIDE.note.split()):
        assert word in words or len(word) > 10


@together("width", (80, 60, 40))
def test_a_number_stays_beside_its_error_and_an_interval_is_one_line(width):
    cells = [cell for row in WIDE.rows for cell in row if "±" in cell or " to " in cell]
    text = shown(WIDE, width)
    assert all(text.count(cell) >= cells.count(cell) for cell in cells)


def test_a_table_too_wide_for_the_terminal_stands_upright():
    lines = shown(WIDE, 50).splitlines()
    (row,) = (line for line in lines if line.startswith("parameters") and "25,482" in line)
    assert "50,964" not in row
    assert sum(line.startswith("parameters") for line in lines) == 4
    assert shown(Table("t", ("a", "b"), (("1", "2"),)), 50).splitlines()[2].split() == ["a", "b"]


def test_terminal_takes_text_as_it_is():
    table = Table("[bold]title", ("[red]a wide column",), (("[/]",),), "[note]")
    text = shown(table, 40)
    assert all(part in text for part in ("[bold]title", "[red]", "[/]", "[note]"))


def test_networks_table_has_every_group_of_networks():
    results = results_table(
        lambda n: 0.9 + 0.01 * n.seed, lambda n: 0.5, train_loss=lambda n: 0.25, widths=(40,), rhos=(0.05, 0.2)
    )
    table = networks_table(results, ACCURACY)
    assert table.columns == (
        "width",
        "parameters",
        "method",
        "rho",
        "networks",
        "train loss",
        "valid accuracy (%)",
        "test accuracy (%)",
        "± s.e.",
        "diverged",
    )
    values = ("3", "0.250", "50.0", "91.0", "0.6", "0")
    assert table.rows == tuple(
        ("40", "16,000", method, rho, *values) for method, rho in (("SGD", "0"), ("SAM", "0.05"), ("SAM", "0.2"))
    )


def test_networks_table_of_one_seed_and_of_diverged_networks():
    results = results_table(growing, metric="loss", seeds=(0,), rhos=(0.2,), diverged=lambda n: n.method == "sam")
    rows = {(row[0], row[2]): row for row in networks_table(results, LOSS).rows}
    assert rows["10", "SGD"][-2:] == ("—", "0")
    assert rows["10", "SAM"][-6:] == ("1", "—", "—", "—", "—", "1")


def test_networks_table_refuses_a_network_that_is_there_twice():
    results = results_table(growing)
    with pytest.raises(ValueError, match="every network once, but 18 rows repeat one"):
        networks_table(pd.concat([results, results]), ACCURACY)


def test_methods_are_ranked_with_their_cost_and_the_baseline_last():
    test = {"sgd": (0.80, 0.82), "sam": (0.83, 0.87), "looksam": (0.90, 0.93)}
    results = results_table(
        lambda n: test[n.method][n.seed], lambda n: n.rho, widths=(40,), seeds=(0, 1), methods=tuple(test)
    )
    table = methods_table(gains_of(results), ACCURACY, {"sgd": (1.0, 12), "sam": (2.0, 6), "looksam": (1.2, 10)})
    assert table.columns == (
        *("method", "gradients per step", "epochs", "rho*", "test %", "gain ± s.e. (points)", "95% interval"),
    )
    assert table.rows == (
        ("LookSAM", "1.2", "10", "0.2", "91.5", "+10.5 ± 0.5", "4.1 to 16.9"),
        ("SAM", "2", "6", "0.2", "85.0", "+4.0 ± 1.0", "-8.7 to 16.7"),
        ("SGD", "1", "12", "—", "81.0", "—", "—"),
    )


def test_small_gains_of_methods_have_two_decimals_as_in_the_table_of_gains():
    test = {"sgd": (0.800, 0.802), "sam": (0.8010, 0.8034)}
    results = results_table(lambda n: test[n.method][n.seed], lambda n: n.rho, widths=(40,), seeds=(0, 1))
    gains = gains_of(results)
    table = methods_table(gains, ACCURACY, {"sgd": (1.0, 2), "sam": (2.0, 1)})
    # Gains of 0.1 and 0.14 points: t at 97.5% with 1 degree of freedom is 12.71.
    assert table.rows[0][4:] == ("80.22", "+0.12 ± 0.02", "-0.13 to 0.37")
    assert table.rows[1][4] == "80.10"
    assert gains_table(gains, ACCURACY).rows[0][4:6] == table.rows[0][5:]


def test_diverged_networks_of_methods_are_counted():
    results = results_table(growing, widths=(40,), diverged=lambda n: n.method == "sam" and n.seed == 1)
    table = methods_table(gains_of(results), ACCURACY, {"sgd": (1.0, 2), "sam": (2.0, 1)})
    assert table.columns[-1] == "diverged"
    assert [row[-1] for row in table.rows] == ["1", "0"]


@pytest.mark.parametrize(
    ("name", "headings", "gain", "note"),
    [
        (
            "episode_return",
            ("SGD episode return (points)", "SAM episode return (points)", "gain ± s.e. (points)"),
            "+0.2500 ± 0.0000",
            "Gain: increase of the episode return, ",
        ),
        (
            "word_error_rate",
            ("SGD %", "SAM %", "gain ± s.e. (points)"),
            "-25.0 ± 0.0",
            "Gain: percentage points, ",
        ),
        (
            "mean_average_precision",
            ("SGD mean average precision", "SAM mean average precision", "gain ± s.e."),
            "+0.2500 ± 0.0000",
            "Gain: increase of the mean average precision, ",
        ),
    ],
)
def test_every_metric_has_its_own_words_and_unit(name, headings, gain, note):
    """SAM has a quarter more, whichever way is better."""
    results = results_table(lambda n: 0.5 if n.method == "sgd" else 0.75, metric=name, widths=(10,))
    table = gains_table(gains_of(results), wording_for(name))
    assert table.title == f"Gain in test {METRICS[name].title} over SGD"
    assert table.columns[2:5] == headings
    assert table.rows[0][4] == gain
    assert table.note.startswith(note)
    assert f"test {METRICS[name].label}" in networks_table(results, wording_for(name)).columns


def test_the_baseline_has_the_title_of_the_base_optimizer():
    table = gains_table(gains(), wording_for(sgd="AdamW"))
    assert table.title == "Gain in test accuracy over AdamW"
    assert {"AdamW %", "train loss AdamW → SAM"} <= set(table.columns)
