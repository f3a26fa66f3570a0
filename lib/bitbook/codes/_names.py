"""Short, readable spelling of many parameter names: layer{1,2}.{0,1}.conv{1,2}.weight."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable

_LEGAL = re.compile(r"[^\s{},:]+")
_WORDS = re.compile(r"\d+|\D+")
_BRACES = re.compile(r"\{([^{}]*)\}")


def check_name(name: str) -> None:
    """Raise ValueError where a name is empty or holds a space, brace, comma or colon: the header needs these itself."""
    if not _LEGAL.fullmatch(name):
        raise ValueError(f"the name {name!r} is empty or holds a space, a brace, a comma or a colon; rename it")


def shorten(names: Iterable[str]) -> str:
    """Return patterns, separated by spaces, that stand for exactly these names; their order does not matter."""
    patterns = {tuple((word,) for word in _WORDS.findall(name)) for name in names}
    for place in reversed(range(max(map(len, patterns), default=0))):
        merged: dict[tuple, set[str]] = {}  # what stands before and behind the place -> the words that stand there
        for pattern in patterns:
            if place < len(pattern):
                merged.setdefault((pattern[:place], pattern[place + 1 :]), set()).update(pattern[place])
        patterns = {pattern for pattern in patterns if place >= len(pattern)} | {
            (*head, tuple(sorted(words, key=lambda word: (len(word), word))), *tail)
            for (head, tail), words in merged.items()
        }
    return " ".join(sorted("".join(w[0] if len(w) == 1 else "{" + ",".join(w) + "}" for w in p) for p in patterns))


def lengthen(patterns: str, limit: int) -> list[str]:
    """Return the names that the patterns stand for; ValueError where there are more than `limit`."""
    names: list[str] = []
    for pattern in patterns.split(" "):
        pieces = [piece.split(",") if i % 2 else [piece] for i, piece in enumerate(_BRACES.split(pattern))]
        if len(names) + math.prod(map(len, pieces)) > limit:
            raise ValueError(f"holds more than {limit} names")
        names += map("".join, itertools.product(*pieces))
    return names
