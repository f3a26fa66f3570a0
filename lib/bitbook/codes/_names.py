"""Short, readable spelling of many parameter names: layer{1,2}.{0,1}.conv{1,2}.weight."""

import itertools
import math
import re
from collections.abc import Iterable

_LEGAL = re.compile(r"[^\s{},:]+")
_WORDS = re.compile(r"\d+|\D+")
_BRACES = re.compile(r"\{([^{}]*)\}")


def check_name(name: str) -> None:
    """Raise ValueError where a name is empty, cannot be printed, or holds what the header needs itself."""
    if not (_LEGAL.fullmatch(name) and name.isprintable()):
        raise ValueError(
            f"the name {name!r} is empty or holds a space, a brace, a comma, a colon or a control character; rename it"
        )


def count_words(name: str) -> int:
    """Return how many words and numbers make up a name."""
    return len(_WORDS.findall(name))


def shorten(names: Iterable[str]) -> str:
    """Return patterns, separated by spaces, that stand for exactly these names; their order does not matter.

    Place by place from the last word, patterns that differ in one word are merged. What stands before a place is a node
    of a tree of words, what stands behind it a number, so that the work grows with the length of the names alone.
    """
    nodes: dict[tuple[int, str], int] = {}  # (node, next word) -> node
    heads: list[tuple[int, str]] = [(0, "")]  # node -> (node before it, last word)
    tails: dict[tuple[str, int], int] = {("", 0): 0}  # (spelling of a place, tail behind it) -> tail
    waiting: dict[int, list[tuple[int, int]]] = {}  # places -> (node, tail) of the patterns with so many left
    for name in set(names):
        node, words = 0, _WORDS.findall(name)
        for word in words:
            head = node, word
            node = nodes.setdefault(head, len(heads))
            if node == len(heads):
                heads.append(head)
        waiting.setdefault(len(words), []).append((node, 0))
    for place in reversed(range(max(waiting, default=0))):
        merged: dict[tuple[int, int], list[str]] = {}
        for node, tail in waiting.pop(place + 1, ()):
            before, word = heads[node]
            merged.setdefault((before, tail), []).append(word)
        for (before, tail), words in merged.items():
            spelt = words[0]
            if len(words) > 1:
                spelt = "{" + ",".join(sorted(words, key=lambda word: (len(word), word))) + "}"
            waiting.setdefault(place, []).append((before, tails.setdefault((spelt, tail), len(tails))))
    behind = list(tails)
    patterns = []
    for _, tail in waiting.get(0, ()):
        pieces = []
        while tail:
            piece, tail = behind[tail]
            pieces.append(piece)
        patterns.append("".join(pieces))
    return " ".join(sorted(patterns))


def lengthen(patterns: str, limit: int, letters: int) -> list[str]:
    """Return the names that the patterns stand for; ValueError for more than `limit`, or of too many letters."""
    names: list[str] = []
    for pattern in patterns.split(" "):
        pieces = [piece.split(",") if i % 2 else [piece] for i, piece in enumerate(_BRACES.split(pattern))]
        count = math.prod(map(len, pieces))
        letters -= sum(count // len(piece) * sum(map(len, piece)) for piece in pieces)
        if len(names) + count > limit or letters < 0:
            raise ValueError(f"holds more than {limit} names, or names that are too long")
        names += map("".join, itertools.product(*pieces))
    return names
