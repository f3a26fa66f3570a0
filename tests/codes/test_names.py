"""Patterns of names: readable, and back to exactly the same names."""

import pytest
from bitbook.codes import _names
from bitbook.codes._names import check_name, lengthen, shorten
from hypothesis import given
from hypothesis import strategies as st


def test_a_resnet_is_spelt_as_a_person_would():
    names = [f"layer{i}.{j}.conv{k}.weight" for i in (1, 2) for j in (0, 1, 10) for k in (1, 2)]
    assert shorten(names) == "layer{1,2}.{0,1,10}.conv{1,2}.weight"
    assert shorten([*names, "conv1.weight", "fc.bias"]) == "conv1.weight fc.bias layer{1,2}.{0,1,10}.conv{1,2}.weight"


@given(st.sets(st.from_regex(r"[a-c._]{1,3}([0-9]{1,2}[a-b.]{0,2}){0,3}", fullmatch=True), min_size=1, max_size=30))
def test_patterns_stand_for_exactly_their_names(names):
    patterns = shorten(names)
    found = lengthen(patterns, len(names), 1 << 20)
    assert sorted(found) == sorted(names)
    assert shorten(sorted(names, reverse=True)) == patterns


def test_too_many_names_are_refused_before_they_are_made():
    with pytest.raises(ValueError, match="more than 1000 names"):
        lengthen(30 * "{0,1,2,3,4,5,6,7,8,9}", 1000, 1 << 20)


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a{", "a:b", "a\nb", "a\x1b[2J", "a\u202eb", "\ud800"])
def test_names_that_the_header_cannot_spell_are_refused(name):
    with pytest.raises(ValueError, match="rename it"):
        check_name(name)


def test_long_names_take_time_in_proportion(monkeypatch):
    looked_at = []
    monkeypatch.setattr(_names, "sorted", lambda *a, **k: looked_at.append(1) or sorted(*a, **k), raising=False)
    names = ["a1" * 2000 + end for end in ("x", "y")]
    assert shorten(names) == "a1" * 2000 + "{x,y}"
    assert len(looked_at) == 2  # one place to spell, and the whole
