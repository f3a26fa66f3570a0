"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bitbook import datasets, tasks, training

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too (minutes each)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; runs with --slow only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run pytest with --slow"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets and pretrained weights, or a skip that says how to get it.

    It is `$BITBOOK_DATA`, else what `../shared/data/unpack.py` (packed sets beside the checkout) writes to .work/data.
    Where there is a folder, a test that misses a file in it fails.
    """
    packed = ROOT.parent / "shared" / "data" / "unpack.py"
    if "BITBOOK_DATA" not in os.environ:
        if not packed.exists():
            pytest.skip("needs real data: set BITBOOK_DATA to a folder that `bitbook data NAME` has filled")
        unpacked = ROOT / ".work" / "data"
        subprocess.run([sys.executable, str(packed), str(unpacked)], check=True)
        os.environ["BITBOOK_DATA"] = str(unpacked)
    return Path(os.environ["BITBOOK_DATA"])


@pytest.fixture(scope="session")
def reproduced() -> None:
    """The results of this checkout are up to date; where they are not, a skip that says so, and a failure in CI."""
    command = [str(Path(sys.executable).with_name("dvc")), "repro", "--dry"]
    told = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True
    ).stdout  # a stale pipeline exits with 0, too
    if not (ROOT / "results").exists() or "Running stage" in told:
        problem = "the results are not up to date: run `make reproduce`"
        pytest.fail(problem) if os.environ.get("CI") else pytest.skip(problem)


class Server:
    """A web server: serves `files` by path, sends only `breaks[i]` bytes of its i-th answer, notes all requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.ranges = True
        self.requests: list[str | None] = []  # the Range header of each

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.requests.append(wanted)
        content = self.files.get(request.path)
        if content is None:
            request.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if start and start >= len(content):
            request.send_error(416)
            return
        body = content[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.breaks.pop(0)] if self.breaks else body)


@pytest.fixture
def reads() -> Iterator[list[str]]:
    """The names of the data sets whose test split is loaded during the test, one for each load."""
    names: list[str] = []
    datasets.observe_test_reads(names.append)
    yield names
    datasets.observe_test_reads(None)


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server on the loopback interface that breaks connections off on demand; `server.url` is its address."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{web.server_port}"
        yield state
        web.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def task():
    """The bundled digits."""
    return tasks.get("digits")


@pytest.fixture(scope="session")
def network(task):
    """A small network trained on the bundled digits for seconds; no test may change it."""
    network, train = task.network(seed=0), task.train()
    recipe = training.Recipe(epochs=4, batch_size=64, augmentation="crop1")
    training.fit(network, train.images, train.labels, recipe, seed=0, progress=False)
    return network.eval()
