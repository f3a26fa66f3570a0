from __future__ import annotations

import pytest
from bitbook.pipeline._parameters import ParameterError, check, declared

CELL = """k: int = 16  # clusters per layer
rate: float = 0.5  # of learning
name: str | None = None  # nothing is a value, too
search: Literal["sweep", "nsga2"] = "sweep"  # how
ratios: list[float] = [6.0, 8]  # several
last: bool = True
level: Literal[1, 2] = 1"""


def test_names_types_defaults_and_comments_are_read():
    found = declared(CELL)
    assert list(found) == ["k", "rate", "name", "search", "ratios", "last", "level"]
    assert (found["k"].type, found["k"].default, found["k"].comment) == ("int", 16, "clusters per layer")
    assert found["last"].comment == ""


def test_given_values_replace_defaults():
    values = check({"k": 4, "name": "x", "search": "nsga2"}, declared(CELL))
    assert values == check({}, declared(CELL)) | {"k": 4, "name": "x", "search": "nsga2"}
    assert (values["rate"], values["ratios"], values["last"], values["level"]) == (0.5, [6.0, 8.0], True, 1)


def test_an_int_given_for_a_float_becomes_one():
    values = check({"rate": 1, "ratios": [2, 3]}, declared(CELL))
    assert [type(v) for v in (values["rate"], *values["ratios"])] == [float, float, float]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("k", 1.0), ("k", "16"), ("k", True), ("rate", "fast"), ("search", "best")),
        *(("ratios", 6.0), ("ratios", ["a"]), ("last", 1), ("name", 3), ("level", True), ("level", 2.0)),
    ],
)
def test_values_of_another_type_are_refused_by_name(name, wrong):
    with pytest.raises(ParameterError, match=f"parameter {name} is"):
        check({name: wrong}, declared(CELL))


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ParameterError, match="unknown parameter clusters: the notebook declares k, rate"):
        check({"clusters": 4}, declared(CELL))


@pytest.mark.parametrize(
    "cell", ["k = 16", "k: int", "import os", "k: int = f(1)", "k: int = 1.5  # wrong", "k: complex = 1"]
)
def test_a_parameters_cell_holds_nothing_but_typed_defaults(cell):
    with pytest.raises(ParameterError):
        declared(cell)
