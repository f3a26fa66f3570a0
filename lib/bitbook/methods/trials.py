"""Candidates of a search as files in a folder, each with its record, so that a stopped search resumes."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from bitbook.codes import Compressed

Record = TypeVar("Record")


class Trials(Generic[Record]):
    """Records of a frozen dataclass, one a candidate; a field named `file` is the path of the candidate's file."""

    def __init__(self, record: type[Record], folder: Path) -> None:
        self.record = record
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._fields = {field.name for field in dataclasses.fields(record)} - {"file"}

    def __contains__(self, name: str) -> bool:
        return self._path(name).exists()

    def add(self, name: str, compressed: Compressed, **values: Any) -> None:
        """Keep a candidate: first its file, then its record, so that a record always has its file."""
        if values.keys() != self._fields:
            raise TypeError(f"a {self.record.__name__} takes {sorted(self._fields)}, not {sorted(values)}")
        compressed.save(self.folder / f"{name}.bitbook")
        partial = self._path(name).with_suffix(".partial")
        partial.write_text(json.dumps(values))
        os.replace(partial, self._path(name))

    def all(self) -> list[Record]:
        """Return all records that the folder holds."""
        return [
            self.record(file=path.with_suffix(".bitbook"), **json.loads(path.read_text()))
            for path in sorted(self.folder.glob("*.json"))
        ]

    @staticmethod
    def progress(steps: list) -> Iterator:
        """Go through the steps with a progress bar that shows the time left."""
        yield from tqdm(steps, desc="candidates", unit="candidate")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"
