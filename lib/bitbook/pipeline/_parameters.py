"""Reads the parameters cell of a notebook and checks values against it."""

import ast
import io
import re
import reprlib
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_RANGE = re.compile(r"(?:^|; )(?P<low>[-+.\de]+) to (?P<high>[-+.\de]+)(?P<list>| or empty| of them)$")
_SCALARS = {"int": int, "float": float, "str": str, "bool": bool, "None": type(None)}


class ParameterError(ValueError):
    """A parameter that the notebook does not declare, or a value of the wrong type or out of range."""


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: `k: int = 16  # clusters per layer; 1 to 256`.

    A comment that ends in a range, `LOW to HIGH`, sets the bounds of a number, or of all numbers of a list that is not
    empty; with ` or empty` it may be, and ` of them` sets the bounds of its length instead.
    """

    name: str
    type: str  # int, float, str, bool, None, list[...], Literal[...], or a union of these
    default: Any
    comment: str

    def check(self, value: Any) -> Any:
        """Return the value, an int given for a float converted; raise ParameterError for another type or range."""
        said = f"parameter {self.name} is {reprlib.repr(value)}, but the notebook"
        for option in _options(ast.parse(self.type, mode="eval").body):
            try:
                converted = _convert(option, value)
            except TypeError:
                continue
            if (wanted := _RANGE.search(self.comment)) and not _within(converted, wanted):
                raise ParameterError(f"{said} asks for {wanted[0].lstrip('; ')}")
            return converted
        raise ParameterError(f"{said} declares {self.name}: {self.type}")


def _within(value: Any, wanted: re.Match) -> bool:
    """Return whether a value keeps a range; NaN does not, None does."""
    numbers = value if isinstance(value, list) else [value]
    if wanted["list"] == " of them":
        numbers = [len(numbers)]
    elif not numbers:
        return wanted["list"] == " or empty"
    return all(number is None or float(wanted["low"]) <= number <= float(wanted["high"]) for number in numbers)


def _options(type_: ast.expr) -> list[ast.expr]:
    if isinstance(type_, ast.BinOp) and isinstance(type_.op, ast.BitOr):
        return _options(type_.left) + _options(type_.right)
    return [type_]


def _convert(type_: ast.expr, value: Any) -> Any:
    if isinstance(type_, ast.Subscript):
        family = ast.unparse(type_.value)
        if family == "list" and isinstance(value, list | tuple):
            return [_convert(type_.slice, item) for item in value]
        if family == "Literal":
            options = ast.literal_eval(ast.Tuple(getattr(type_.slice, "elts", [type_.slice])))
            if any(type(value) is type(option) and value == option for option in options):
                return value
        raise TypeError
    name = ast.unparse(type_)
    if name not in _SCALARS:
        raise ParameterError(f"type {name} is none of {', '.join(_SCALARS)}, list[...], Literal[...]")
    if name == "float" and type(value) is int:
        return float(value)
    if type(value) is not _SCALARS[name]:  # not isinstance: True is an int, but never a bin count
        raise TypeError
    return value


def declared(cell: str) -> dict[str, Parameter]:
    """Read a parameters cell, lines `name: type = literal  # comment`; raise ParameterError for any other line."""
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(cell).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for line in ast.parse(cell).body:
        if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None):
            raise ParameterError(f"parameters cell: `{ast.unparse(line)}` is not `name: type = value  # comment`")
        name, type_ = line.target.id, ast.unparse(line.annotation)
        try:
            default = ast.literal_eval(line.value)
        except ValueError:
            raise ParameterError(
                f"parameter {name}: {ast.unparse(line.value)} is no literal: write the value"
            ) from None
        parameter = Parameter(name, type_, default, comments.get(line.end_lineno or 0, ""))
        parameter.check(parameter.default)
        found[name] = parameter
    return found


def check(values: Mapping[str, Any], declarations: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return all parameters, given ones checked, others at their defaults; raise ParameterError for unknown names."""
    if unknown := [name for name in values if name not in declarations]:
        raise ParameterError(f"unknown parameter {', '.join(unknown)}: the notebook declares {', '.join(declarations)}")
    return {name: p.check(values.get(name, p.default)) for name, p in declarations.items()}
