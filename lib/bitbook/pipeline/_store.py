"""The content-keyed store: what expensive work has done so far, under a hash of everything that it depends on."""

import copy
import fcntl
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from bitbook import load
from bitbook.files import Cache
from bitbook.pipeline._tables import to_json


def key_of(parts: Mapping[str, Any]) -> str:
    """Hash what work depends on: parameters, checksums, code hashes."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _lock(path: Path, *, wait: float | None) -> IO[str]:
    """Hold a lock that vanishes with this process; wait for another holder, at most `wait` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a+")  # noqa: SIM115  open as long as the lock is held
    started, said = time.monotonic(), False
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
            if not said:
                print(f"{message}: waiting for it", file=sys.stderr, flush=True)
                said = True
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

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, wait: float | None = None):
        """Take the folder; another process that holds it is waited for, at most `wait` seconds (then BlockingIOError).

        identity: what the work depends on; ValueError where the folder holds other work. Finished work is only read, so
        nobody holds it.
        """
        self.folder, self._held = folder, None
        self._kept = Cache(folder, identity)
        if self.record is None:
            self._held = _lock(folder / "lock", wait=wait)
            self._kept = Cache(folder, identity)  # what another process did until it let go
        self._before = 0.0 if self.record else self._spent()
        self._started = time.time()
        if self.record is None:
            self._kept.add("attempt", {"before": self._before, "started": self._started})

    @classmethod
    def finished(cls, folder: Path, identity: Mapping[str, Any]) -> Self | None:
        """Return the store of finished work to read from; None where the work is not finished."""
        return cls(folder, identity) if "finished" in Cache(folder, identity) else None

    def _spent(self) -> float:
        """Return the seconds of earlier attempts, each counted up to the last file that it wrote."""
        if not (attempt := self._kept.get("attempt")):
            return 0.0
        last = max(file.stat().st_mtime for file in self.folder.rglob("*") if file.name != "lock")
        return attempt["before"] + max(0.0, last - attempt["started"])

    def release(self) -> None:
        """Let other processes have the folder."""
        if self._held:
            self._held.close()

    @property
    def record(self) -> dict[str, Any] | None:
        """The record of the finished work, or None while it is unfinished."""
        return self._kept.get("finished")

    def count(self, name: str) -> None:
        """Count something once more, over all attempts; finished work counts no further."""
        if self.record is None:
            self._kept.add(f"count of {name}", self.counted(name) + 1)

    def counted(self, name: str) -> int:
        """Return how often something has been counted."""
        return self._kept.get(f"count of {name}", 0)

    def finish(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Mark the work as finished, once; return the record of the time when it was, with its seconds."""
        if self.record is None:
            seconds = round(self._before + time.time() - self._started, 1)
            self._kept.add("finished", {"seconds": seconds, **record})
        self.release()
        return self.record or {}

    def keep(self, name: str, compute: Callable[[], Any], *, version: str = "") -> Any:
        """Return what `compute` returned when it was first called under this name and version, calling it if need be.

        The name's ending says what it is: `.json` (plain values), `.npz` (arrays by name) or `.bitbook` (a Compressed).
        A computed value is read back before it is returned, so that the first run and a replay see the same.
        """
        stem, _, ending = name.rpartition(".")
        if ending not in ("json", "npz", "bitbook"):
            raise ValueError(f"{name}: ends in none of .json, .npz, .bitbook")
        entry = f"{stem}{version and '-'}{version}.{ending}"
        if entry not in self._kept:
            value = compute()
            if ending == "json":
                self._kept.add(entry, json.loads(to_json(value)))
            elif ending == "bitbook":
                self._kept.add(entry, None, value.to_bytes())
            else:
                buffer = io.BytesIO()
                np.savez(buffer, **value)
                self._kept.add(entry, None, buffer.getvalue())
        if ending == "json":
            return copy.deepcopy(self._kept[entry])
        if ending == "bitbook":
            return load(self._kept.path(entry))
        with np.load(self._kept.path(entry), allow_pickle=False) as file:
            return dict(file)
