"""Downloads that are verified, show their progress, and go on where they were broken off."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

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
) -> Path:
    """Fetch a URL to a path unless a file with that hash ("md5:..." or SHA-256) is there already; return the path.

    What has arrived is kept next to it as PATH.part, and an interrupted download goes on from there (HTTP ranges),
    within the call and between calls.

    Args:
        largest: bytes that the file may have.
        patience: pause in seconds before the first new attempt, doubled for each further one.
        stall: seconds that a block of 64 KiB may take.

    Raises:
        DownloadFailed: after five attempts in a row without progress, for a refusal by the server, more bytes than
            `largest`, a wrong hash, and where the file cannot be written.
    """
    if path.exists() and not path.is_file():
        raise DownloadFailed(f"{url}: {path} is no file: remove it")
    part = path.with_name(path.name + ".part")
    downloader = _Resuming(part, largest, progress, patience, stall)
    try:
        pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=downloader)
    except (ValueError, OSError, HTTPError) as error:  # a wrong hash is a ValueError, requests' errors are OSErrors
        remedy = f"run it again to go on, or put the file at {path} yourself"
        if isinstance(error, ValueError):
            remedy = "run it again to start afresh"
        raise DownloadFailed(f"{url}: {' '.join(str(error).split())}; {remedy}") from error
    return path


@dataclass
class _Resuming:
    """A pooch downloader that appends to a part file instead of starting again."""

    part: Path
    largest: int
    progress: bool
    patience: float
    stall: float
    attempts: int = 5

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        if self.part.is_symlink() or self.part.is_fifo():  # not ours: what a link points to stays as it is
            self.part.unlink()
        failures = 0
        while True:
            before = self._size()
            try:
                self._append(url)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, HTTPError):
                failures = 0 if self._size() > before else failures + 1
                if failures == self.attempts:
                    raise
                time.sleep(self.patience * 2**failures)
        os.replace(self.part, output_file)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _append(self, url: str) -> None:
        """One request for the bytes still missing; raises requests' exceptions where the connection breaks."""
        start = self._size()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, headers=headers, stream=True, timeout=30) as response:
            if (
                start and response.status_code == 416
            ):  # nothing lies beyond what we have: it is all, and its hash will tell
                return
            response.raise_for_status()
            if response.status_code != 206:  # the server sends everything again
                start = 0
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
                while size <= self.largest and (block := self._block(response)):
                    file.write(block)
                    size += len(block)
                    bar.update(len(block))
        if max(size, total) > self.largest:
            self.part.unlink()
            raise OSError(f"has more than {self.largest:,} bytes, which cannot be right")
        if size < total:
            raise requests.ConnectionError(f"the connection broke off at byte {size} of {total}")

    def _block(self, response: requests.Response) -> bytes:
        """Return the next block, shorter at the end only; raises requests.Timeout where it takes too long."""
        block, begun = b"", time.monotonic()
        while len(block) < BLOCK and (piece := response.raw.read1(BLOCK - len(block))):
            block += piece
            if time.monotonic() - begun > self.stall:
                raise requests.Timeout(f"the server sent only {len(block)} bytes in {self.stall:g} s")
        return block
