from __future__ import annotations

import math

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


RANGES = """k: int = 16  # clusters; with an optimum; 1 to 256
rate: float = 0.5  # 1e-3 to 1
epochs: int | None = None  # of training; 1 to 10
counts: list[int] = [3]  # each; 2 to 9
levels: list[int] = [3]  # each; 2 to 9 or empty
kinds: list[str] = ["a"]  # 1 to 2 of them
free: float = -1.0  # from low to high"""


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("k", [1, 256], [0, -1, 257, 10**400]),
        ("rate", [1, 1e-3], [0, 1.5, math.nan, math.inf, -math.inf, -1]),
        ("epochs", [None, 1], [0, 11]),
        ("counts", [[2, 9]], [[], [1], [2, 10]]),
        ("levels", [[], [2]], [[1]]),
        ("kinds", [["a"], ["b", "c"]], [[], ["a"] * 3]),
        ("free", [-math.inf, 0], []),
    ],
)
def test_a_range_in_the_comment_is_kept(name, inside, outside):
    found = declared(RANGES)
    for value in inside:
        assert check({name: value}, found)[name] == value
    for value in outside:
        wanted = found[name].comment.rpartition("; ")[2]
        with pytest.raises(
            ParameterError, match=f"parameter {name} is .*, but the notebook asks for {wanted}$"
        ) as caught:
            check({name: value}, found)
        assert len(str(caught.value)) < 150


def test_a_default_out_of_its_range_is_refused():
    with pytest.raises(ParameterError, match="parameter k is 0, but the notebook asks for 1 to 9"):
        declared("k: int = 0  # clusters; 1 to 9")
