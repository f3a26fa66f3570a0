"""Reads params.yaml, and keeps names that could reach outside of the results, or a shell, out of the pipeline."""

from __future__ import annotations

import re
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
    raise ValueError(f"{what} {name!r}: {rule}; rename it")


def read_params(params: Path) -> dict[str, dict[str, Any]]:
    """Read a params file, all names in it checked.

    Returns:
        Nets and runs by key.

    Raises:
        ValueError: for a name that breaks the rule, and for a key of both a net and a run, whose results would collide.
    """
    import yaml

    content = yaml.safe_load(params.read_text())
    for kind in ("tasks", "notebooks", "nets", "runs"):
        for name in content.get(kind) or ():
            check_name(name, f"{params}: {kind}:")
    found = {kind: content.get(kind) or {} for kind in _NAMES_OF}
    for kind, values in _NAMES_OF.items():
        for key, entry in found[kind].items():
            for value in (value for value in values if value in entry):
                check_name(entry[value], f"{params}: {kind}: {key}: {value}:")
    if both := found["nets"].keys() & found["runs"].keys():
        raise ValueError(f"{params}: {', '.join(sorted(both))} names both a net and a run")
    return found
