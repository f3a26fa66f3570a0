"""Downloads that are verified, show their progress, and go on where they were broken off."""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch
import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

BLOCK = 1 << 16


class DownloadFailed(OSError):
    """A file could not be fetched, or is not the one that its hash promises."""


def download(
    url: str,
    path: Path,
    *,
    known_hash: str | None,
    largest: int = 4 << 30,
    progress: bool = True,
    patience: float = 1.0,
    stall: float = 60.0,
    slowest: int = 16 << 10,
) -> Path:
    """Fetch a URL to a path unless a file with that hash ("md5:..." or SHA-256) is there already; return the path.

    What has arrived is kept next to it as PATH.part, and an interrupted download goes on from there (HTTP ranges),
    within the call and between calls.

    Args:
        largest: bytes that the file may have.
        patience: pause in seconds before the first new attempt, doubled for each further one.
        stall: seconds that the headers, redirects included, may take, and a block of 64 KiB.
        slowest: bytes that have to arrive in a second, on average, beside five times `stall`.

    Raises:
        DownloadFailed: after five attempts in a row without progress, for a server that is too slow or refuses, more
            bytes than `largest`, a wrong hash, and where the file cannot be written.
    """
    if path.exists() and not path.is_file():
        raise DownloadFailed(f"{url}: {path} is no file: remove it")
    part = path.with_name(path.name + ".part")
    downloader = _Resuming(part, largest, progress, patience, stall, slowest)
    try:
        pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=downloader)
    except (ValueError, OSError, HTTPError) as error:  # a wrong hash is a ValueError, requests' errors are OSErrors
        remedy = f"run it again to go on, or put the file at {path} yourself"
        if isinstance(error, ValueError):
            remedy = "run it again to start afresh"
        raise DownloadFailed(f"{url}: {' '.join(str(error).split())}; {remedy}") from error
    return path


def _in_time(call: Callable[[], Any], seconds: float, what: str, give_up: Callable[[], Any] = lambda: None) -> Any:
    """Return what a call returns within seconds; after them, or at Ctrl-C, give up and raise.

    It runs in a thread, since a time-out of requests begins anew with every byte that arrives.
    """
    done: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            done.put((call(), None))
        except Exception as error:
            done.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        value, error = done.get(timeout=max(seconds, 0))
    except BaseException as stopped:
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # the connection is gone already
            give_up()
        if isinstance(stopped, queue.Empty):
            raise requests.Timeout(f"{what} took more than {seconds:g} s") from None
        raise
    if error is not None:
        raise error
    return value


def _drop_body(response: requests.Response, **_: Any) -> None:
    """Close a redirect, whose body requests would read to its end."""
    if response.is_redirect:
        response.close()


@dataclass
class _Resuming:
    """A pooch downloader that appends to a part file instead of starting again."""

    part: Path
    largest: int
    progress: bool
    patience: float
    stall: float
    slowest: int
    attempts: int = 5

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        if self.part.is_symlink() or self.part.is_fifo():  # not ours: what a link points to stays as it is
            self.part.unlink()
        failures = 0
        self.begun, self.first = time.monotonic(), self._size()
        while True:
            before = self._size()
            try:
                self._append(url)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, HTTPError):
                failures = 0 if self._size() > before else failures + 1
                if failures == self.attempts:
                    raise
                self._check_rate(self._size())
                time.sleep(self.patience * 2**failures)
        os.replace(self.part, output_file)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _check_rate(self, size: int) -> None:
        """Raise OSError where too little has arrived since the call began, all attempts and pauses included."""
        allowed = self.attempts * self.stall + (size - self.first) / self.slowest
        if (elapsed := time.monotonic() - self.begun) > allowed:
            raise OSError(f"only {size - self.first:,} bytes arrived in {elapsed:,.0f} s")

    def _append(self, url: str) -> None:
        """One request for the bytes still missing; raises requests' exceptions where the connection breaks."""
        start = self._size()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        options: Any = {"headers": headers, "stream": True, "timeout": 30, "hooks": {"response": _drop_body}}
        with _in_time(lambda: requests.get(url, **options), self.stall, "the server's answer") as response:
            if start and response.status_code == 416:  # nothing lies beyond what we have: its hash will tell
                return
            response.raise_for_status()
            if response.status_code != 206:  # the server sends everything again
                start = self.first = 0
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                self.part.unlink(missing_ok=True)
                raise OSError("the server sent another part than it was asked for")
            length = response.headers.get("Content-Length", "")
            total = start + (int(length) if length.isdecimal() else 0)
            bar = tqdm(
                total=total, initial=start, unit="B", unit_scale=True, desc=self.part.stem, disable=not self.progress
            )
            size = start
            with bar, self.part.open("ab" if start else "wb") as file:
                while max(size, total) <= self.largest and (block := self._block(response)):
                    file.write(block)
                    size += len(block)
                    bar.update(len(block))
                    self._check_rate(size)
        if max(size, total) > self.largest:
            self.part.unlink()
            raise OSError(f"has more than {self.largest:,} bytes, which cannot be right")
        if size < total:
            raise requests.ConnectionError(f"the connection broke off at byte {size} of {total}")

    def _block(self, response: requests.Response) -> bytes:
        """Return the next block, shorter at the end only; raises requests.Timeout where it takes too long."""

        def read() -> bytes:
            block = b""
            while len(block) < BLOCK and (piece := response.raw.read1(BLOCK - len(block))):
                block += piece
            return block

        return _in_time(read, self.stall, f"a block of {BLOCK >> 10} KiB", response.raw.shutdown)
