"""The pages as Chromium shows them, at a desk's and a phone's width: nothing fails to load, nothing is cut off."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FAULTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Network.loadingFailed")
CUT_OFF = """JSON.stringify([...document.querySelectorAll("body *")].filter(element => {
  if (element.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let around = element; around; around = around.parentElement)
    if (getComputedStyle(around).overflowX != "visible") return false;  // it scrolls
  return true;
}).map(element => element.outerHTML.slice(0, 80)))"""


class Browser:
    """Headless Chromium, driven by its DevTools protocol."""

    def __init__(self, folder):
        options = ["--headless", "--no-sandbox", "--remote-debugging-port=0", "--remote-allow-origins=*"]
        self.process = subprocess.Popen(
            [CHROMIUM, *options, f"--user-data-dir={folder}", "about:blank"], stderr=subprocess.DEVNULL
        )
        port = folder / "DevToolsActivePort"
        while not (port.exists() and port.read_text().strip()):
            assert self.process.poll() is None, "Chromium did not start"
            time.sleep(0.1)
        address = f"http://127.0.0.1:{port.read_text().split()[0]}/json"
        targets = json.load(urllib.request.urlopen(address))
        (page,) = [target for target in targets if target["type"] == "page"]
        self.socket = pytest.importorskip("websocket").create_connection(page["webSocketDebuggerUrl"], timeout=60)
        self.count, self.events = 0, []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **options):
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": options}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.count:
            self.events.append(answer)
        return answer["result"]

    def faults(self, path, width):
        """Open a page at a width; return what failed, and what is cut off."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self.socket.recv()))
        cut = json.loads(self.call("Runtime.evaluate", expression=CUT_OFF)["result"]["value"])
        return [event for event in self.events if event["method"] in FAULTS] + cut


@pytest.fixture
def browser(tmp_path):
    started = Browser(tmp_path / "profile")
    yield started
    started.socket.close()
    started.process.terminate()
    started.process.wait(10)


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")
def test_no_page_has_faults_at_two_widths(report, browser):
    for path in report.rglob("*.html"):
        for width in (1280, 390):
            assert browser.faults(path, width) == [], (path.name, width)


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")
def test_faults_are_seen(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<script>console.error('no')</script><img src='none.png'><p style='width: 2000px'>wide</p>")
    found = browser.faults(page, 390)
    assert {event["method"] for event in found if isinstance(event, dict)} >= {
        *("Runtime.consoleAPICalled", "Network.loadingFailed")
    }
    assert any("wide" in cut for cut in found if isinstance(cut, str))
