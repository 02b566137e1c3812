import numpy as np
import pytest

from widebasin.report.themes import DARK, LIGHT, style_of_themes


def contrast(one: str, other: str) -> float:
    """The contrast of two colours in hexadecimal digits, from 1 to 21, as the WCAG 2 define it."""
    low, high = sorted(_luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    channels = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_contrast_is_that_of_the_wcag():
    assert contrast("#ffffff", "#000000") == contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#808080", "#808080") == 1
    # The lightest grey that passes at 4.5 on white, and the next one, which does not.
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_everything_that_says_something_can_be_seen(theme):
    inks = {name: (colour, theme.surfaces.values()) for name, colour in theme.inks.items()}
    lines = (*theme.series, *theme.ordered(12))
    inks |= {f"line {number}": (colour, [theme.surfaces["page"]]) for number, colour in enumerate(lines)}
    low = {name: on for name, (colour, on) in inks.items() if min(contrast(colour, one) for one in on) < 4.5}
    assert low == {}
    assert len(set(theme.series)) == 8
    assert len(set(theme.ordered(12))) == 12


def test_styles_have_every_colour_in_both_themes():
    style = style_of_themes(3)
    for theme, times in ((LIGHT, 1), (DARK, 2)):
        for colour in (*theme.surfaces.values(), *theme.inks.values(), *theme.series, *theme.ordered(3)):
            assert style.count(f": {colour};") >= times, colour
    assert "prefers-color-scheme: dark" in style
    assert ":root[data-theme=dark]" in style
    assert ".series-7 {" in style
    assert ".shade-2 {" in style
    assert ".shade-3" not in style
