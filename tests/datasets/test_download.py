"""Downloads against a server that drops connections."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import time

import pytest
from bitbook.datasets import DownloadFailed, download

CONTENT = random.Random(0).randbytes(400_000)
HASH = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.fixture
def fetch(server, tmp_path):
    server.files["/set.bin"] = CONTENT
    return lambda: download(
        f"{server.url}/set.bin", tmp_path / "set.bin", known_hash=HASH, progress=False, patience=0.001
    )


def test_broken_connection_goes_on_where_it_was(fetch, server):
    server.breaks = [3 << 16, (1 << 16) + 1000]  # the second one tears a block, which is fetched again
    assert fetch().read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={3 << 16}-", f"bytes={4 << 16}-"]


def test_killed_download_goes_on_in_the_next_call(fetch, server, tmp_path):
    (tmp_path / "set.bin.part").write_bytes(CONTENT[:150_000])
    assert fetch().read_bytes() == CONTENT
    assert server.requests == ["bytes=150000-"]


def test_part_file_that_is_complete_needs_no_bytes(fetch, server, tmp_path):
    (tmp_path / "set.bin.part").write_bytes(CONTENT)
    assert fetch().read_bytes() == CONTENT
    assert server.requests == [f"bytes={len(CONTENT)}-"]


def test_server_without_ranges_sends_all_again(fetch, server):
    server.ranges = False
    server.breaks = [200_000]
    assert fetch().read_bytes() == CONTENT


def test_finished_file_is_not_fetched_again(fetch, server):
    fetch()
    fetch()
    assert len(server.requests) == 1


def test_gives_up_after_five_attempts_without_progress_and_keeps_the_part(fetch, server, tmp_path):
    server.breaks = [1 << 16, 0, 0, 0, 0, 0]
    with pytest.raises(DownloadFailed, match="run it again to go on"):
        fetch()
    assert len(server.requests) == 6
    assert (tmp_path / "set.bin.part").read_bytes() == CONTENT[: 1 << 16]


def test_wrong_content_is_refused_and_fetched_afresh_next_time(fetch, server, tmp_path):
    (tmp_path / "set.bin.part").write_bytes(b"another file" * 1000)
    with pytest.raises(DownloadFailed, match="start afresh"):
        fetch()
    assert not (tmp_path / "set.bin").exists()
    assert fetch().read_bytes() == CONTENT


def test_refusal_by_the_server_is_a_clear_error(server, tmp_path):
    with pytest.raises(DownloadFailed, match="404"):
        download(f"{server.url}/nothing", tmp_path / "nothing", known_hash=None, progress=False)


def test_an_endless_body_is_cut_off_and_not_kept(server, tmp_path):
    def endless(request):
        request.send_response(200)
        request.end_headers()
        with contextlib.suppress(OSError):
            while True:
                request.wfile.write(bytes(1 << 16))

    server.answer = endless
    with pytest.raises(DownloadFailed, match="more than 1,000,000 bytes"):
        download(f"{server.url}/x", tmp_path / "x", known_hash=HASH, largest=10**6, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_promise_of_too_much_is_refused(server, tmp_path):
    server.files["/x"] = CONTENT
    with pytest.raises(DownloadFailed, match="more than 100,000 bytes"):
        download(f"{server.url}/x", tmp_path / "x", known_hash=HASH, largest=10**5, progress=False)


def drips(request, text, *, first=b""):
    """Send a text slowly, byte after byte and for ever, as long as the client listens."""
    with contextlib.suppress(OSError):
        request.wfile.write(first)
        while True:
            for byte in text:
                request.wfile.write(bytes([byte]))
                time.sleep(0.02)


STATUS = b"HTTP/1.0 200 OK\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "then", "what"),
    [
        (b"", b"HTTP/1.0 200 " + b"O" * 1000, "the server's answer"),
        (STATUS, b"X: y\r\n", "the server's answer"),
        (b"HTTP/1.0 100 Continue\r\n\r\n", b"HTTP/1.0 100 Continue\r\n\r\n", "the server's answer"),
        (STATUS + b"Content-Length: 1000000\r\n\r\n", b"x", "a block of 64 KiB"),
        (STATUS + b"\r\n", b"x", "a block of 64 KiB"),
        (CHUNKED, b"1;xx", "a block of 64 KiB"),
        (CHUNKED + b"1\r\na\r\n0\r\n", b"X: y\r\n", "a block of 64 KiB"),
    ],
    ids=["status", "headers", "continue", "body", "body without an end", "chunk", "trailer"],
)
def test_a_server_that_drips_is_given_up(first, then, what, server, tmp_path):
    server.answer = lambda request: drips(request, then, first=first)
    options = {"known_hash": HASH, "progress": False, "patience": 0.001, "stall": 0.1}
    with pytest.raises(DownloadFailed, match=rf"/x: {what} took more than 0\.1 s; run it .* put the file at") as caught:
        download(f"{server.url}/x", tmp_path / "x", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_the_body_of_a_redirect_is_not_read(server, tmp_path):
    def redirect(request):
        if request.path == "/x":
            drips(request, bytes(1 << 16), first=b"HTTP/1.0 302 Found\r\nLocation: /set.bin\r\n\r\n")
        else:
            answer(request)

    answer, server.answer, server.files["/set.bin"] = server.answer, redirect, CONTENT
    assert download(f"{server.url}/x", tmp_path / "x", known_hash=HASH, progress=False).read_bytes() == CONTENT


def test_redirects_without_an_end_are_one_line(server, tmp_path):
    def redirect(request):
        request.send_response(302)
        request.send_header("Location", request.path + "x")
        request.end_headers()

    server.answer = redirect
    with pytest.raises(DownloadFailed, match=r"Exceeded 30 redirects.*; run it again"):
        download(f"{server.url}/x", tmp_path / "x", known_hash=HASH, progress=False)


def test_a_server_too_slow_on_average_is_given_up_and_what_arrived_is_kept(fetch, server, tmp_path):
    server.breaks = [1 << 16] * 100  # each attempt goes on, so that none of them counts as failed
    options = {"known_hash": HASH, "progress": False, "patience": 0.2, "stall": 0.1, "slowest": 1 << 40}
    with pytest.raises(DownloadFailed, match=r"only [\d,]+ bytes arrived in \d s; run it again to go on"):
        download(f"{server.url}/set.bin", tmp_path / "set.bin", **options)
    size = (tmp_path / "set.bin.part").stat().st_size
    assert 0 < size < len(CONTENT)
    server.breaks, server.requests = [], []
    assert fetch().read_bytes() == CONTENT
    assert server.requests == [f"bytes={size}-"]


def test_a_link_in_place_of_the_part_file_is_not_followed(fetch, tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "set.bin.part").symlink_to(tmp_path / "mine")
    assert fetch().read_bytes() == CONTENT
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_pipe_in_place_of_a_file_does_not_hold_up(fetch, tmp_path):
    os.mkfifo(tmp_path / "set.bin.part")
    assert fetch().read_bytes() == CONTENT
    (tmp_path / "set.bin").unlink()
    os.mkfifo(tmp_path / "set.bin")
    with pytest.raises(DownloadFailed, match=r"set\.bin is no file: remove it"):
        fetch()


def test_another_part_than_was_asked_for_is_not_appended(fetch, server, tmp_path):
    def whole(request):
        request.send_response(206)
        request.send_header("Content-Range", f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        with contextlib.suppress(OSError):
            request.wfile.write(CONTENT)

    (tmp_path / "set.bin.part").write_bytes(CONTENT[:1000])
    answer, server.answer = server.answer, whole
    with pytest.raises(DownloadFailed, match="another part than it was asked for; run it again"):
        fetch()
    server.answer = answer
    assert fetch().read_bytes() == CONTENT


def test_a_range_that_nobody_asked_for_is_a_refusal(server, tmp_path):
    server.answer = lambda request: request.send_error(416)
    with pytest.raises(DownloadFailed, match="416"):
        download(f"{server.url}/x", tmp_path / "x", known_hash=HASH, progress=False)


def test_a_folder_in_place_of_the_part_file_is_one_line(fetch, tmp_path):
    (tmp_path / "set.bin.part").mkdir()
    with pytest.raises(DownloadFailed, match="directory"):
        fetch()
