"""Candidates of a search as files in a folder, each with its record, so that a stopped search resumes."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from bitbook.codes import Compressed

Record = TypeVar("Record")


class Trials(Generic[Record]):
    """Records of a frozen dataclass, one a candidate; a field named `file` is the path of the candidate's file.

    identity: what the records depend on beside their names. Raises ValueError where the folder holds those of another.
    """

    def __init__(self, record: type[Record], folder: Path, *, identity: Mapping[str, Any]) -> None:
        self.record = record
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder / "identity"
        text = json.dumps(identity, sort_keys=True)
        if not about.exists():
            _write(about, text)
        if about.read_text() != text:
            raise ValueError(f"{self.folder} holds another search, {about.read_text()}: give an empty folder")
        self._fields = {field.name for field in dataclasses.fields(record)} - {"file"}

    def __contains__(self, name: str) -> bool:
        return self._path(name).exists()

    def add(self, name: str, compressed: Compressed, **values: Any) -> None:
        """Keep a candidate: first its file, then its record, so that a record always has its file."""
        if values.keys() != self._fields:
            raise TypeError(f"a {self.record.__name__} takes {sorted(self._fields)}, not {sorted(values)}")
        compressed.save(self.folder / f"{name}.bitbook")
        _write(self._path(name), json.dumps(values))

    def __getitem__(self, name: str) -> Record:
        values = json.loads(self._path(name).read_text())
        return self.record(file=self.folder / f"{name}.bitbook", **values)

    @staticmethod
    def progress(steps: list) -> Iterator:
        """Go through the steps with a progress bar that shows the time left."""
        yield from tqdm(steps, desc="candidates", unit="candidate")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, path)
