"""The interactive page in a real browser: what a reader sees, does and gets told."""

import pytest
from report.browser import browser
from report.explored import explored
from report.results_tables import design_of, growing, results_table
from report.test_page import HOSTILE

from widebasin.report.explorer import explorer
from widebasin.report.tables import gain_cells
from widebasin.statistics.gains import EPOCHS, SELECTIONS

pytestmark = pytest.mark.slow

DIVERGED = (10, "asam", 0.2, 1)


def results(**options):
    """Each choice of metric, epoch and split gives other gains; one network diverged."""
    return results_table(
        growing,
        valid=lambda n: -n.rho if n.method == "sam" else 0.0,
        best_test=lambda n: growing(n) + (0.1 if n.method == "sam" else 0.0),
        **(
            {
                "methods": ("sgd", "sam", "asam"),
                "label_noise": (0.0, 0.2),
                "diverged": lambda n: (n.width, n.method, n.rho, n.seed) == DIVERGED,
            }
            | options
        ),
    )


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def what():
    return explored(results(), epochs=12, titles={"asam": HOSTILE})


@pytest.fixture(scope="module")
def page(what, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "explore.html"
    file.write_text(explorer(what))
    return file


@pytest.fixture
def opened(reader, page):
    reader.open(page)
    return reader


def markers(reader, figure="#gains-figure"):
    """Where the marks of a figure are in the window, after scrolling to it."""
    script = """const figure = document.querySelector(arguments[0] + " svg.plot");
        figure.scrollIntoView({block: "center"});
        return [...figure.querySelectorAll("g > circle:not(.star), g > polygon")].map((one) => {
          const box = one.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2]; })"""
    return reader.run(script, figure)


@pytest.mark.parametrize("width", [1280, 390])
def test_page_is_quiet_loads_nothing_and_fits_the_window(reader, page, width):
    reader.errors(), reader.requests()
    reader.open(page, width)
    assert reader.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert reader.run("return document.querySelectorAll('svg.plot').length") == 1 + 4 + 2
    # No figure leaves its box, and no text its figure.
    assert (
        reader.run("""return [...document.querySelectorAll("svg.plot")].flatMap((figure) => {
        const room = figure.getBoundingClientRect();
        return [...figure.querySelectorAll("text")].filter((one) => {
          const box = one.getBoundingClientRect();
          return box.left < room.left - 1 || box.right > room.right + 1 || box.bottom > room.bottom + 1;
        }).map((one) => one.textContent); })""")
        == []
    )
    assert reader.errors() == []
    assert [address for address in reader.requests() if address != page.as_uri()] == []


def test_every_choice_shows_the_numbers_of_python(opened, what):
    seen = set()
    for reading in what.readings:
        opened.choose("metric", reading.metric.label)
        opened.choose("at", ["final epoch", "epoch of the best validation accuracy"][EPOCHS.index(reading.at)])
        opened.choose("select", ["validation split", "test split (optimistic)"][SELECTIONS.index(reading.select)])
        wording = explored(what.results, reading.metric, readings=()).wording
        _, cells = gain_cells(reading.gains, wording)
        shown = [tuple(row[-len(cells[0]) :]) for row in opened.rows("#gains-table")]
        assert shown == cells
        seen.add(str(shown))
    assert len(seen) == 8


def test_names_from_outside_stay_text(opened):
    assert opened.all("main b:not(.tip b)") == []
    assert any(HOSTILE in text for text in opened.texts("#gains-table td"))
    assert HOSTILE in "".join(opened.texts("[data-filter=method] label"))


def test_the_pointer_gets_value_and_interval(opened, what):
    (row,) = (r for r in opened.rows("#gains-table") if r[:4] == ["SAM", "10", "1,000", "0%"])
    opened.point_at(*markers(opened)[0])
    tip = opened.one("#gains-figure .tip").text
    assert "SAM, width 10, 1,000 parameters, label noise 0%" in tip
    assert row[6] in tip
    assert f"95% interval: {row[7]}" in tip
    opened.point_at(2, 2)
    assert opened.one("#gains-figure .tip").text == ""


def test_a_finger_gets_them_too_and_they_stay(opened):
    x, y = markers(opened)[0]
    send = opened.driver.execute_cdp_cmd
    send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert opened.one("#gains-figure .tip").text.startswith("SAM, width 10, 1,000 parameters, label noise 0%")
    # A tap reads: what is chosen stays.
    assert len(opened.all("#curves-legend li")) == 2


def test_a_click_on_a_point_shows_the_learning_curves_of_its_networks(opened):
    opened.point_at(*markers(opened)[0], click=True)
    names = opened.texts("#curves-legend li")
    assert len(names) == 6
    assert [name.partition(",")[0] for name in names] == ["SAM"] * 3 + ["SGD"] * 3
    assert all("width 10" in name and "label noise 0%" in name for name in names)
    assert len(opened.all("#networks input:checked")) == 6


def test_of_more_networks_than_curves_whole_pairs_are_shown_and_the_others_are_said(reader, tmp_path):
    many = results(methods=("sgd", "sam"), label_noise=(0.0,), seeds=tuple(range(13)), diverged=lambda n: False)
    file = tmp_path / "explore.html"
    file.write_text(explorer(explored(many, epochs=2)))
    reader.open(file)
    reader.point_at(*markers(reader)[0], click=True)
    names = reader.texts("#curves-legend li")
    assert sorted(name.partition(",")[0] for name in names) == ["SAM"] * 6 + ["SGD"] * 6
    assert {name.rpartition(" ")[2] for name in names} == set("012345")
    assert "those of 14 more networks, of later seeds, are left out" in reader.one("#curves-note").text


def test_the_keyboard_reaches_everything_and_moves_from_point_to_point(opened):
    reached = []
    for _ in range(60):
        opened.press("TAB")
        name = opened.run("""const one = document.activeElement;
            return one.id || one.getAttribute("aria-label") || one.textContent""")
        reached.append(name)
        if name.startswith("Gain over SGD"):
            break
    assert {"metric", "at", "select", "theme", "against"} <= set(reached)
    tip = "#gains-figure .tip"
    first = opened.one(tip).text
    assert first.startswith("SAM, width 10")
    opened.press("ARROW_RIGHT")
    assert opened.one(tip).text.startswith("SAM, width 100")
    opened.press("ARROW_LEFT", "ARROW_DOWN")
    assert opened.one(tip).text.startswith("SAM, width 10, 1,000 parameters, label noise 20%")
    assert opened.one(tip).get_attribute("role") == "status"
    opened.press("ENTER")
    assert len(opened.all("#curves-legend li")) == 6
    opened.press("ESCAPE")
    assert opened.one(tip).text == ""


def test_networks_sort_by_any_column_and_filter_by_text_and_values(opened, what):
    count = len(what.results)

    def column(name):
        place = opened.texts("#networks th").index(name)
        return [row[place] for row in opened.rows("#networks")]

    def press(name):
        opened.run("document.querySelector(`[data-sort=${arguments[0]}]`).click()", name)

    press("test")
    values = column("test accuracy (%)")
    # Of both label noises; they come last either way.
    assert values[-2:] == ["not a number"] * 2
    assert [float(v) for v in values[:-2]] == sorted(float(v) for v in values[:-2])
    press("test")
    values = column("test accuracy (%)")
    assert values[-2:] == ["not a number"] * 2
    assert [float(v) for v in values[:-2]] == sorted((float(v) for v in values[:-2]), reverse=True)
    assert opened.one("#networks th[aria-sort=descending]").text.startswith("test accuracy")
    opened.one("#filter").send_keys("sgd width>=100 label_noise=20%")
    assert len(opened.rows("#networks")) == 3
    assert set(column("method")) == {"SGD"}
    assert set(column("width")) == {"100"}
    assert opened.one("#count").text.startswith(f"3 of {count} networks")
    opened.one("#filter").send_keys(" size>3")
    assert "there is no column size" in opened.one("#count").text
    opened.run("document.querySelector('#networks input[type=checkbox]').click()")
    assert "there is no column size" in opened.one("#count").text
    # As it is shown: nothing is below a value and equal to it.
    shown = column("test accuracy (%)")[0]
    opened.one("#filter").clear()
    opened.one("#filter").send_keys(f"test={shown} test<{shown}")
    assert not opened.rows("#networks")
    opened.one("#filter").clear()
    opened.one("#filter").send_keys(f"test={shown} test>={shown}")
    assert opened.rows("#networks")
    opened.one("#filter").clear()
    opened.one("#filter").send_keys("diverged>0")
    assert len(opened.rows("#networks")) == 2
    for said, rows in (("diverged<1", count - 2), ("label_noise>=20%", count // 2), ("width<100", count // 2)):
        opened.one("#filter").clear()
        opened.one("#filter").send_keys(said)
        assert opened.one("#count").text.startswith(f"{rows} of {count} networks"), said


def test_methods_and_settings_can_be_left_out(opened):
    before = len(opened.rows("#gains-table"))
    opened.all("[data-filter=method] input")[2].click()
    assert len(opened.rows("#gains-table")) == before / 2
    assert len(opened.all("#radii-figure figure")) == 2
    opened.all("[data-filter=label_noise] input")[0].click()
    assert {row[2] for row in opened.rows("#gains-table")} == {"1,000", "100,000"}
    assert len(opened.rows("#gains-table")) == before / 4
    assert len(opened.all("#radii-figure figure")) == 1
    opened.all("[data-filter=method] input")[1].click()
    assert "hidden by the choices" in opened.one("#gains-figure").text


def test_what_diverged_is_said(opened):
    opened.one("#filter").send_keys("diverged>0")
    opened.run("document.getElementById('choose').click()")
    assert "none of the chosen networks has a finite value" in opened.one("#curves-figure").text
    assert "in epoch 1" in opened.one("#curves-note").text
    assert "no finite value" in opened.one("#radii-note").text


def test_numbers_on_axes_are_short_however_small(reader, tmp_path):
    table = results(train_loss=lambda n: 7e-6 / n.width, label_noise=(0.0,))
    (tmp_path / "explore.html").write_text(explorer(explored(table, epochs=9, readings=())))
    reader.open(tmp_path / "explore.html")
    marks = reader.texts("#curves-figure svg text")
    assert any("e-" in mark for mark in marks)
    assert max(map(len, marks)) <= 7, marks


def test_dark_follows_the_reader_and_the_switch(reader, page):
    script = "return getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(255, 255, 255)", "rgb(21, 25, 29)"
    reader.open(page, dark=True)
    assert reader.run(script) == dark
    reader.choose("theme", "light")
    assert reader.run(script) == light
    reader.open(page)
    assert reader.run(script) == light
    reader.choose("theme", "dark")
    assert reader.run(script) == dark


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"methods": ("sgd",)}, "no method to compare with it"),
        ({"methods": ("sam", "asam")}, "no network of the baseline, SGD, to compare with"),
        ({"seeds": (0,)}, "One seed gives no interval"),
        ({"diverged": lambda n: True}, "None of these gains is a finite number"),
        ({"widths": (10,), "label_noise": (0.0,)}, "mean paired difference over 3 seeds"),
    ],
    ids=["baseline alone", "no baseline", "one seed", "all diverged", "one width"],
)
def test_odd_sweeps_are_shown_and_explained(reader, tmp_path, grid, said):
    table = results(**grid)
    assert design_of(table).metric.name == "accuracy"
    (tmp_path / "explore.html").write_text(explorer(explored(table)))
    reader.errors()
    reader.open(tmp_path / "explore.html", 390)
    assert said in reader.one("#gains").text
    assert len(reader.rows("#networks")) == len(table)
    assert reader.errors() == []
    assert reader.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
