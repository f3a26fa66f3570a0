"""Downloads that are verified, show their progress, and go on where they were broken off."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pooch
import requests
from tqdm import tqdm


class DownloadFailed(OSError):
    """A file could not be fetched, or is not the one that its hash promises."""


def download(url: str, path: Path, *, known_hash: str | None, progress: bool = True, patience: float = 1.0) -> Path:
    """Fetch a URL to a path unless a file with that hash ("md5:..." or SHA-256) is there already; return the path.

    What has arrived is kept beside it as PATH.part, and an interrupted download goes on from there (HTTP ranges),
    within the call and between calls. `patience` is the pause in seconds before the first new attempt, doubled for
    each further one. Raises DownloadFailed after five attempts in a row without progress, for a refusal by the
    server, and for a wrong hash.
    """
    downloader = ResumingDownloader(path.with_name(path.name + ".part"), progress=progress, patience=patience)
    try:
        pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=downloader)
    except requests.RequestException as error:
        raise DownloadFailed(f"{url}: {error}; run it again to go on, or put the file at {path} yourself") from error
    except ValueError as error:  # pooch's word for a wrong hash
        raise DownloadFailed(f"{url}: {error}; run it again to start afresh") from error
    return path


class ResumingDownloader:
    """A pooch downloader that appends to a part file instead of starting again."""

    def __init__(self, part: Path, *, progress: bool, patience: float, attempts: int = 5) -> None:
        self.part = part
        self.progress = progress
        self.patience = patience
        self.attempts = attempts

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        failures = 0
        while True:
            before = self._size()
            try:
                self._append(url)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
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
            if response.status_code == 416:  # nothing lies beyond what we have: it is all, and its hash will tell
                return
            response.raise_for_status()
            if response.status_code != 206:  # the server sends everything again
                start = 0
            total = start + int(response.headers.get("Content-Length", 0))
            bar = tqdm(
                total=total, initial=start, unit="B", unit_scale=True, desc=self.part.stem, disable=not self.progress
            )
            with bar, self.part.open("ab" if start else "wb") as file:
                for block in response.iter_content(1 << 16):
                    file.write(block)
                    bar.update(len(block))
        if self._size() < total:
            raise requests.ConnectionError(f"the connection broke off at byte {self._size()} of {total}")
