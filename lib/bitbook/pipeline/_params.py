"""Reads params.yaml, and keeps names that could reach outside of the results, or a shell, out of the pipeline."""

import re
import reprlib
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_NAMES_OF = {"nets": ("task",), "runs": ("net", "notebook")}  # entries' values that name something else


def check_name(name: Any, what: str) -> str:
    """Return a name that can be part of a path.

    Args:
        name: what stands in params.yaml, or on the command line.
        what: what it names, for the message.

    Raises:
        ValueError: for anything but 1 to 100 letters, digits, `-` and `_`, the first a letter or a digit.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    rule = "a name is 1 to 100 letters, digits, - and _, and begins with a letter or a digit"
    remedy = "rename it" if isinstance(name, str) else f"write it in quotes, if {_cut(name)} is meant to be a name"
    raise ValueError(f"{what} {_cut(name)}: {rule}; {remedy}")


def _cut(value: Any) -> str:
    """Return the beginning of a value's repr, which aliases of aliases would make endless."""
    return f"{reprlib.repr(value):.80}"


def _load(params: Path) -> Any:
    """Read YAML 1.2 as DVC does, by the same reader: `010` is ten, `1e-3` a number, `on` a word."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe").load(params.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        place = f"{params}, line {error.problem_mark.line + 1}" if error.problem_mark else f"{params}"
        raise ValueError(f"{place}: {error.problem}: mend the YAML there") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{params}: {str(error).splitlines()[0]}: write it as YAML in UTF-8") from None


def _part(params: Path, content: dict[str, Any], kind: str) -> Any:
    """Return the names of a kind, a list or a mapping; nothing after the colon is none."""
    wanted, example = (dict, "{name: {...}}") if kind in _NAMES_OF else (list, "[name, ...]")
    part = wanted() if content.get(kind) is None else content[kind]
    if not isinstance(part, wanted):
        raise ValueError(f"{params}: {kind} is {_cut(part)}: write {kind}: {example}")
    for name in part:
        check_name(name, f"{params}: {kind}:")
    return part


def read_params(params: Path) -> dict[str, Any]:
    """Read a params file, all names in it checked.

    Returns:
        Nets and runs by key, and the names of tasks and notebooks.

    Raises:
        ValueError: where the file is not YAML or not of the form of params.yaml, a name breaks the rule, or one is the
            key of both a net and a run, whose results would collide.
    """
    content = _load(params)
    if not isinstance(content, dict):
        raise ValueError(f"{params} holds {_cut(content)}: it has to name tasks, notebooks, nets and runs")
    parts = {kind: _part(params, content, kind) for kind in ("tasks", "notebooks", *_NAMES_OF)}
    for kind, values in _NAMES_OF.items():
        for key, entry in parts[kind].items():
            if not isinstance(entry, dict) or (missing := [value for value in values if value not in entry]):
                said = f"has no {' and no '.join(missing)}" if isinstance(entry, dict) else f"is {_cut(entry)}"
                form = ", ".join(f"{value}: ..." for value in values)
                raise ValueError(f"{params}: {kind}: {key} {said}: write {key}: {{{form}}}")
            for value in values:
                check_name(entry[value], f"{params}: {kind}: {key}: {value}:")
            if unnamed := [name for name in entry if not isinstance(name, str)]:
                raise ValueError(f"{params}: {kind}: {key}: {_cut(unnamed[0])} is no parameter's name: write a word")
    if both := parts["nets"].keys() & parts["runs"].keys():
        raise ValueError(f"{params}: {', '.join(sorted(both))} names both a net and a run: rename one of them")
    return parts
