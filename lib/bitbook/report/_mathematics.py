"""Formulas as pictures, so that a page needs no script to show them."""

from __future__ import annotations

import base64
import io
import re
from functools import cache
from html import escape

# code in backticks, which stays as it is; a displayed formula; a formula within a line
_PARTS = re.compile(
    r"(?P<code>```.*?```|`[^`]*`)|\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^$\s](?:[^$\n]*[^$\s])?)\$", re.DOTALL
)
_SIZE = 12  # points at which a formula is set; pages scale it by its height in em


@cache
def picture(formula: str, *, display: bool = False) -> str:
    """Return a formula, in the TeX that Matplotlib knows, as an `img` element; ValueError for what it does not know."""
    from matplotlib import rc_context
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser, math_to_image

    text = re.sub(r"\\(le|ge|ne)(?![a-zA-Z])", r"\\\1q", f"${formula.strip()}$")  # Matplotlib has only the long names
    font, file = FontProperties(size=_SIZE), io.BytesIO()
    with rc_context({"mathtext.fontset": "stix", "svg.hashsalt": "bitbook"}):
        depth = math_to_image(text, file, prop=font, dpi=72, format="svg")
        height = MathTextParser("path").parse(text, dpi=72, prop=font).height
    svg = re.sub(rb"<metadata>.*?</metadata>", b"", file.getvalue(), flags=re.DOTALL)  # it holds the time
    data = base64.b64encode(svg).decode()
    style = f"height:{height / _SIZE:.3f}em;vertical-align:{-depth / _SIZE:.3f}em"
    kind = "formula display" if display else "formula"
    return f'<img class="{kind}" style="{style}" alt="{escape(formula)}" src="data:image/svg+xml;base64,{data}">'


def formulas(markdown: str) -> list[str]:
    """Return the formulas of a Markdown text."""
    return [match["display"] or match["inline"] for match in _PARTS.finditer(markdown) if not match["code"]]


def with_pictures(markdown: str) -> str:
    """Replace every formula of a Markdown text by its picture; one that Matplotlib does not know stays as it is."""

    def replaced(match: re.Match) -> str:
        if match["code"]:
            return match["code"]
        try:
            return picture(match["display"] or match["inline"], display=bool(match["display"]))
        except ValueError:
            return match[0]

    return _PARTS.sub(replaced, markdown)
