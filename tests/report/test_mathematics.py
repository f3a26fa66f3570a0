from __future__ import annotations

import base64
import re

import pytest
from bitbook.report._mathematics import formulas, picture, with_pictures


def style(formula: str) -> tuple[float, float]:
    """Height and baseline of a formula's picture, in em."""
    height, baseline = re.search(r"height:([\d.]+)em;vertical-align:(-?[\d.]+)em", picture(formula)).groups()
    return float(height), float(baseline)


def test_a_picture_is_an_svg_without_anything_that_changes():
    first = picture(r"\lceil \log_2 d \rceil")
    picture.cache_clear()
    assert picture(r"\lceil \log_2 d \rceil") == first
    svg = base64.b64decode(re.search(r"base64,([^\"]+)", first)[1]).decode()
    assert svg.lstrip().startswith("<?xml")
    assert "<metadata>" not in svg
    assert r'alt="\lceil \log_2 d \rceil"' in first


def test_what_hangs_below_the_line_is_lowered_by_its_depth():
    assert style("x")[1] == pytest.approx(0, abs=0.02)
    assert style("x_2^{q}")[1] < -0.1
    assert style("x_2^{q}")[0] > style("x")[0] + 0.2


def test_formulas_become_pictures_and_code_and_prices_do_not():
    text = "the sum $a_1$ of $$b \\ge 2$$ and `$c$`, 5 $ and 6 $, or\n```\n$d$\n```\n"
    assert formulas(text) == ["a_1", r"b \ge 2"]
    shown = with_pictures(text)
    assert shown.count("<img") == 2
    assert shown.count('class="formula display"') == 1
    assert "`$c$`, 5 $ and 6 $, or\n```\n$d$\n```\n" in shown


def test_a_formula_that_cannot_be_drawn_stays_and_is_an_error_where_asked_for():
    assert with_pictures(r"$\unheardof$") == r"$\unheardof$"
    with pytest.raises(ValueError, match="unheardof"):
        picture(r"\unheardof")
