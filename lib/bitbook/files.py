"""Files that are whole or absent, and the one cache: records and files under a folder and an identity.

Nothing here looks into what it keeps. Damage is noticed by checksums, said in one line, and set aside, so that work is
done again instead of going on from something else.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_PARTIAL = f".bitbook-{_HOST}-"  # begins the name of a file that is being written; short, as names end at 255 bytes
_REMEDIES = {
    errno.ENOSPC: "not written, since the disk is full: free some space",
    errno.EDQUOT: "not written, since your quota is used up: free some space",
    errno.EFBIG: "not written, since it is larger than a file may be here (ulimit -f)",
    errno.EROFS: "not written, since the disk is read-only: choose another folder",
    errno.EACCES: "not written, since its folder is read-only: choose another folder, or change its mode",
    errno.ENAMETOOLONG: "not written, since a name may have 255 bytes: choose a shorter one",
}


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file so that whatever happens its name stands for the old file or the whole new one.

    Folders are made where they are missing; a symbolic link stays, what it points to is written; an existing file
    keeps its mode. What killed processes of this machine left half-written in the folder is cleared away.

    Raises:
        OSError: with a remedy where the disk is full or read-only.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(f"{_PARTIAL}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        if target.is_symlink() or (target.exists() and not target.is_file()):
            raise OSError(
                errno.EINVAL,
                "not written: a folder, a device or a link to itself; choose another name",
                os.fspath(path),
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(target.parent)
        with partial.open("xb") as file:
            if target.exists():
                os.fchmod(file.fileno(), target.stat().st_mode & 0o7777)
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise _with_remedy(error, path) from None
    finally:
        with contextlib.suppress(OSError):  # a read-only disk would say so once more, without the remedy
            partial.unlink()


def _with_remedy(error: OSError, path: str | os.PathLike[str]) -> OSError:
    return OSError(error.errno, _REMEDIES.get(error.errno or 0, error.strerror), os.fspath(path))


def _clear_leftovers(folder: Path) -> None:
    for file in folder.glob(f"{_PARTIAL}*"):
        try:
            os.kill(int(file.name.split("-")[2]), 0)
        except ProcessLookupError:  # its writer is dead
            file.unlink(missing_ok=True)
        except (PermissionError, ValueError):  # a process of another user; a file that only looks like ours
            continue


def write_checked(path: Path, data: bytes) -> None:
    """Write bytes behind a line with their checksum, atomically, for `read_checked`."""
    write_atomically(path, _digest(data).encode() + b"\n" + data)


def read_checked(path: Path) -> bytes | None:
    """Read what `write_checked` wrote; None where there is no such file, or a damaged one, which is set aside."""
    if (content := _content(path)) is None:
        return None
    digest, _, data = content.partition(b"\n")
    if digest != _digest(data).encode():
        _set_aside(path)
        return None
    return data


def _content(path: Path) -> bytes | None:
    """Return the bytes of a file of ours; None where there is none, or something else, which is set aside."""
    if path.is_file():
        return path.read_bytes()
    if os.path.lexists(path):  # a folder, a pipe, a link to nothing
        _set_aside(path)
    return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _set_aside(path: Path) -> None:
    aside = path.with_name(f"{path.name[:200]}.damaged")
    if path.is_dir() or aside.is_dir():
        aside = aside.with_name(f"{aside.name}-{secrets.token_hex(4)}")
    os.replace(path, aside)
    print(f"{path} is damaged: set aside as {aside.name}, made again", file=sys.stderr, flush=True)


class Cache:
    """Values by name, each with a file of its own if need be, that stay in a folder for one identity.

    A value survives a kill once `add` returns. Values lie in `records.jsonl`, a line each, bound by a checksum to the
    identity, and to the content of their file; a last line that was cut off by a kill does not count.

    Args:
        folder: made with the first value.
        identity: what all values depend on apart from their names, plain JSON.

    Raises:
        ValueError: where the folder holds values of another identity.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._path = self.folder / "records.jsonl"
        self._identity = json.loads(json.dumps(identity, sort_keys=True))
        self._entries: dict[str, tuple[Any, str | None]] = {}  # value, and checksum of the file, by name
        self._whole: set[str] = set()  # names whose files have been looked at
        self._damaged = 0
        self._read()

    def _read(self) -> None:
        first, *lines = (_content(self._path) or b"").splitlines(keepends=True) or [b""]
        self._in_order = self._is_ours(first)
        for line in lines:
            entry = _parsed(line)
            if entry and len(entry) == 4 and entry[0] == self._checksum(*entry[1:]):
                name, value, file = entry[1:]
                self._entries.pop(name, None)
                self._entries[name] = (value, file)
                self._in_order &= line.endswith(b"\n")
            else:
                self._in_order = False
                self._damaged += line.endswith(b"\n")
        if self._damaged:
            said = f"{self._path}: {self._damaged} damaged lines are set aside, what they held is made again"
            print(said, file=sys.stderr, flush=True)
            self._write_all()
            self._in_order = True

    def _is_ours(self, line: bytes) -> bool:
        """Tell whether the first line holds this identity; raise ValueError where it holds another."""
        entry = _parsed(line)
        if entry and len(entry) == 2 and entry[0] == _digest(_json(entry[1]).encode())[:16]:
            if entry[1] == self._identity:
                return True
            keys = sorted({*entry[1], *self._identity})
            differs = ", ".join(key for key in keys if entry[1].get(key) != self._identity.get(key))
            raise ValueError(
                f"{self.folder} holds what was made with another {differs}: give an empty folder, or delete it"
            )
        self._damaged += line.endswith(b"\n")
        return False

    def _checksum(self, name: str, value: Any, file: str | None) -> str:
        return _digest(_json([self._identity, name, value, file]).encode())[:16]

    def _line(self, name: str) -> bytes:
        value, file = self._entries[name]
        return _json([self._checksum(name, value, file), name, value, file]).encode() + b"\n"

    def path(self, name: str) -> Path:
        """Return where the file of a value lies."""
        return self.folder / name

    def __contains__(self, name: str) -> bool:
        """Tell whether a value is known and its file whole; set a damaged file aside."""
        digest = self._entries.get(name, (None, None))[1]
        if digest and name not in self._whole:
            content = _content(self.path(name))
            if content is not None and _digest(content) != digest:
                _set_aside(self.path(name))
                content = None
            if content is None:
                del self._entries[name]
            self._whole.add(name)
        return name in self._entries

    def __getitem__(self, name: str) -> Any:
        return self._entries[name][0]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or the default where it is not known or its file is damaged."""
        if name not in self:
            return default
        return self[name]

    def __len__(self) -> int:
        return len(self._entries)

    def values(self) -> list[Any]:
        """Return all values, in the order in which they were added."""
        return [value for value, _ in self._entries.values()]

    def add(self, name: str, value: Any, file: bytes | None = None) -> Any:
        """Keep a value, and a file of that name; first the file, so that a value always has its own.

        Args:
            name: a value known by it is replaced.
            value: plain JSON; NumPy's numbers and arrays become that.
            file: content of the file at `path(name)`.

        Returns:
            The value as it comes back.
        """
        if file is not None:
            write_atomically(self.path(name), file)
            self._whole.add(name)
        self._entries.pop(name, None)
        self._entries[name] = (json.loads(_json(value)), _digest(file) if file is not None else None)
        if self._in_order:
            self._in_order = False  # until the line is there as a whole
            self._append(self._line(name))
        else:
            self._write_all()
        self._in_order = True
        return self[name]

    def _append(self, line: bytes) -> None:
        """Write one line; no fsync, since a line that a power failure tears is noticed by its checksum."""
        try:
            records = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                if os.write(records, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(records)
        except OSError as error:
            raise _with_remedy(error, self._path) from None

    def _write_all(self) -> None:
        """Write the records anew, without what is damaged, of which a copy is set aside."""
        if self._damaged:
            shutil.copy(self._path, self._path.with_suffix(".damaged"))
            self._damaged = 0
        first = _json([_digest(_json(self._identity).encode())[:16], self._identity]).encode() + b"\n"
        write_atomically(self._path, first + b"".join(map(self._line, self._entries)))


def _json(value: Any) -> str:
    return json.dumps(value, default=lambda number: number.tolist())


def _parsed(line: bytes) -> list[Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, list) else None
