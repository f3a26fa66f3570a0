"""The content-keyed store: what expensive work has done so far, under a hash of everything that it depends on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from bitbook.pipeline.layout import write_atomically
from bitbook.pipeline.tables import to_json


def key_of(parts: Mapping[str, Any]) -> str:
    """Hash what work depends on: parameters, checksums, code hashes."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _lock(path: Path, *, wait: float | None) -> IO[str]:
    """Hold a lock that vanishes with this process; wait for another holder, at most `wait` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a+")  # noqa: SIM115  open as long as the lock is held
    started, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            file.seek(0)
            message = f"process {file.read().strip() or '?'} works on the same thing in {path.parent}"
            if wait is not None and time.monotonic() - started >= wait:
                file.close()
                raise BlockingIOError(f"{message}: let it finish, or stop it") from None
            if not told:
                print(f"{message}: waiting for it", file=sys.stderr, flush=True)
                told = True
            time.sleep(0.2)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


class Store:
    """One folder of the store, held by this process alone until its work is finished or the process ends.

    Checkpoints of unfinished work lie in it as the work's own files, finished pieces as `keep` writes them. `finish`
    freezes the record of the work (seconds, hardware), so that a replay reports what the work took, not the replay.
    """

    def __init__(self, folder: Path, *, wait: float | None = None):
        """Take the folder; another process that holds it is waited for, at most `wait` seconds (then BlockingIOError).

        Finished work is only read, so nobody holds it.
        """
        self.folder = folder
        self._held = None if self.record else _lock(folder / "lock", wait=wait)
        self._before = 0.0 if self.record else self._spent()
        self._started = time.time()
        if self.record is None:
            write_atomically(folder / "attempt.json", to_json({"before": self._before, "started": self._started}))

    def _spent(self) -> float:
        """Return the seconds of earlier attempts, each counted up to the last file that it wrote."""
        path = self.folder / "attempt.json"
        if not path.exists():
            return 0.0
        attempt = json.loads(path.read_text())
        last = max(file.stat().st_mtime for file in self.folder.rglob("*") if file.name != "lock")
        return attempt["before"] + max(0.0, last - attempt["started"])

    def release(self) -> None:
        """Let other processes have the folder."""
        if self._held:
            self._held.close()

    @property
    def record(self) -> dict[str, Any] | None:
        """The record of the finished work, or None while it is unfinished."""
        path = self.folder / "finished.json"
        return json.loads(path.read_text()) if path.exists() else None

    def count(self, name: str) -> None:
        """Count something once more, over all attempts; finished work counts no further."""
        if self.record is None:
            write_atomically(self.folder / f"{name}.count", str(self.counted(name) + 1))

    def counted(self, name: str) -> int:
        """Return how often something has been counted."""
        path = self.folder / f"{name}.count"
        return int(path.read_text()) if path.exists() else 0

    def finish(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Mark the work as finished, once; return the record of the time when it was, with its seconds."""
        if self.record is None:
            seconds = round(self._before + time.time() - self._started, 1)
            write_atomically(self.folder / "finished.json", to_json({"seconds": seconds, **record}))
        self.release()
        return self.record

    def keep(self, name: str, compute: Callable[[], Any], *, version: str = "") -> Any:
        """Return what `compute` returned when it was first called under this name and version, calling it if need be.

        The name's ending says what it is: `.json` (plain values), `.npz` (arrays by name) or `.bitbook` (a Compressed).
        A computed value is read back before it is returned, so that the first run and a replay see the same.
        """
        stem, _, ending = name.rpartition(".")
        if ending not in _FORMATS:
            raise ValueError(f"{name}: ends in none of {', '.join(_FORMATS)}")
        path = self.folder / f"{stem}{version and '-'}{version}.{ending}"
        write, read = _FORMATS[ending]
        if not path.exists():
            value = compute()
            partial = path.with_name(f"partial-{path.name}")
            write(partial, value)
            os.replace(partial, path)
        return read(path)


def _write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    import numpy as np

    np.savez(path, **arrays)


def _read_arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _read_compressed(path: Path):
    from bitbook import load

    return load(path)


_FORMATS: dict[str, tuple[Callable[[Path, Any], None], Callable[[Path], Any]]] = {
    "json": (lambda path, value: path.write_text(to_json(value)) and None, lambda path: json.loads(path.read_text())),
    "npz": (_write_arrays, _read_arrays),
    "bitbook": (lambda path, compressed: compressed.save(path), _read_compressed),
}
