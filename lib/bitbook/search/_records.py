"""What a search has evaluated, one line of JSON each, so that a stopped search evaluates nothing again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Records:
    """Values by key, each written to the end of a file as soon as it is known.

    identity: what the values depend on beside their keys, plain JSON; it is the file's first line. A last line that was
    cut off is dropped. Raises ValueError where the file holds the records of another search.
    """

    def __init__(self, path: Path, *, identity: Mapping[str, Any]) -> None:
        self.path = path
        self._values: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        about = json.dumps(identity, sort_keys=True)
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        first, *lines = whole.splitlines() or [about]
        if first != about:
            raise ValueError(f"{path} holds another search, {first}: give an empty folder")
        for line in lines:
            key, value = json.loads(line)
            self._values[key] = value
        if whole != text or not text:
            path.write_text(whole or about + "\n")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __len__(self) -> int:
        return len(self._values)

    def values(self) -> list[Any]:
        """All values, in the order in which they were added."""
        return list(self._values.values())

    def add(self, key: str, value: Any) -> None:
        """Keep a value of plain JSON; a key that is known already is left as it is."""
        if key not in self._values:
            with self.path.open("a") as file:
                file.write(json.dumps([key, value]) + "\n")
            self._values[key] = value
