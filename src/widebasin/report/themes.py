"""Colours of the interactive page, light and dark: each has a contrast of at least 4.5 to 1 with its background."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex


@dataclass(frozen=True)
class Theme:
    """Colours of a page.

    Attributes:
        surfaces: name -> background colour.
        inks: name -> colour of text, axes and lines of the page itself.
        faint: name -> colour of dividers, which carry no information.
        series: colours of lines, as distinguishable with any colour vision as eight can be; lines also differ by
            markers and dashes.
        shades: ends of a section of the colour map plasma, for ordered lines.
    """

    surfaces: Mapping[str, str]
    inks: Mapping[str, str]
    faint: Mapping[str, str]
    series: tuple[str, ...]
    shades: tuple[float, float]

    def ordered(self, count: int) -> tuple[str, ...]:
        """Colours of an ordered quantity, from smallest to largest."""
        return tuple(to_hex(colour) for colour in colormaps["plasma"](np.linspace(*self.shades, count)))

    def declarations(self, shades: int) -> str:
        """The colours as custom properties of CSS: ``--page``, ``--text`` ..., ``--series-0`` ..., ``--shade-0`` ..."""
        named = {**self.surfaces, **self.inks, **self.faint}
        named |= {f"series-{number}": colour for number, colour in enumerate(self.series)}
        named |= {f"shade-{number}": colour for number, colour in enumerate(self.ordered(shades))}
        return " ".join(f"--{name}: {colour};" for name, colour in named.items())


LIGHT = Theme(
    surfaces={"page": "#ffffff", "box": "#f4f6f8"},
    inks={"text": "#1c2126", "quiet": "#4a545e", "link": "#005a8e"},
    faint={"line": "#c3ccd4", "grid": "#e4e9ed"},
    series=("#0072b2", "#b34700", "#007a5a", "#a63f82", "#806000", "#5b4fc4", "#b3123d", "#3f4a54"),
    shades=(0.0, 0.44),
)
DARK = Theme(
    surfaces={"page": "#15191d", "box": "#1f252b"},
    inks={"text": "#e6eaee", "quiet": "#a9b4be", "link": "#7cc4f2"},
    faint={"line": "#4a545e", "grid": "#2b333a"},
    series=("#56b4e9", "#f08a3c", "#2fc79b", "#e58fc0", "#e6c229", "#a99bff", "#ff8f8f", "#c3ccd4"),
    shades=(0.58, 0.97),
)


def style_of_themes(shades: int) -> str:
    """CSS with colour classes; dark if the reader's system is, unless ``data-theme`` of the page sets the theme.

    Args:
        shades: number of colours for an ordered quantity.
    """
    classes = [f".series-{number} {{ color: var(--series-{number}); }}" for number in range(len(LIGHT.series))]
    classes += [f".shade-{number} {{ color: var(--shade-{number}); }}" for number in range(shades)]
    light, dark = LIGHT.declarations(shades), DARK.declarations(shades)
    return "\n".join(
        (
            f":root {{ color-scheme: light; {light} }}",
            f":root[data-theme=dark] {{ color-scheme: dark; {dark} }}",
            f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ color-scheme: dark; {dark} }} }}",
            *classes,
        )
    )
