"""The report as a browser shows it: headless Chromium, driven by plain W3C WebDriver requests."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regraft.report import write_ranking_page, write_report
from regraft.report.comparison import compare_runs, write_comparison_page
from tests.report.boards import board_json

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not on the PATH"),
]

KINDS = ["proven", "digits", "sixty", "regression", "multilabel", "texts", "unfinished", "hostile", "long"]
SECTIONS = ["asked", "data", "shape", "near", "ranking", "source", "carried", "race", "plan", "curves"]
SECTIONS += ["figures", "calibration", "slices", "mistakes", "worst"]
SECTIONS += ["arms", "verdict", "learning", "costs", "use"]
WHERE_KNOWN = {"shape", "near", "ranking", "race", "calibration", "slices", "learning"}
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
]
FLAGS += ["--disable-component-update", "--disable-background-networking", "--disable-dev-shm-usage"]
FLAGS += ["--disable-sync", "--hide-scrollbars"]


class Browser:
    """A tiny WebDriver client; requests go to the local chromedriver only, never through a proxy."""

    def __init__(self, port: int, profile: Path):
        self._base = f"http://127.0.0.1:{port}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
        self._session = ""
        self._session = self.call("POST", "/session", capabilities={"alwaysMatch": wanted})["sessionId"]

    def call(self, method: str, path: str, **body: Any) -> Any:
        url = self._base + (path if not self._session else f"/session/{self._session}{path}")
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        with self._opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def develop(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.call("POST", "/goog/cdp/execute", cmd=command, params=parameters)

    def show(self, page: Path, *, width: int, scheme: str) -> None:
        """Open a page at a width in pixels, light or dark."""
        mobile = width < 600
        self.develop(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=mobile
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.develop("Emulation.setEmulatedMedia", media="screen", features=[feature])
        self.call("POST", "/url", url=page.as_uri())

    def run(self, script: str) -> Any:
        """The value that a script in the page returns."""
        return self.call("POST", "/execute/sync", script=script, args=[])

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What the browser logged since the last time."""
        return self.call("POST", "/se/log", type=kind)

    def picture(self) -> bytes:
        """The whole page as a PNG."""
        options = {"format": "png", "captureBeyondViewport": True}
        return base64.b64decode(self.develop("Page.captureScreenshot", **options)["data"])

    def close(self) -> None:
        self.call("DELETE", "")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("chromium")
    with open(folder / "driver.log", "wb") as log:
        driver = subprocess.Popen([str(DRIVER), f"--port={port}"], stdout=log, stderr=log)
    try:
        _wait_for(port)
        opened = Browser(port, folder / "profile")
        try:
            yield opened
        finally:
            opened.close()
    finally:
        driver.terminate()
        driver.wait(timeout=20)


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("chromedriver did not answer within ten seconds")


def requested(browser: Browser) -> list[str]:
    """The addresses that the page asked for since the last time.

    Chromium's own start page may still load parts of its own (``chrome://resources``): not the page's.
    """
    messages = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in sent if one["documentURL"].startswith("file:")]


# The WCAG contrast of each element's own text with what lies behind it, smallest first.
CONTRAST = """
const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
const behind = node => {
  const layers = [];
  for (let at = node; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
  return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
};
const linear = c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
const light = rgb => { const f = rgb.map(c => linear(c / 255));
  return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
const found = [];
for (const node of document.querySelectorAll('body *')) {
  const own = [...node.childNodes].some(c => c.nodeType === 3 && c.textContent.trim());
  if (!own || !node.checkVisibility()) continue;
  const style = getComputedStyle(node), back = behind(node);
  const paint = node instanceof SVGElement ? style.fill : style.color;
  const [a, b] = [light(over(parse(paint), back)), light(back)].sort((x, y) => y - x);
  const name = node.tagName + '.' + node.getAttribute('class') + ': ' + node.textContent.slice(0, 40);
  found.push([(a + .05) / (b + .05), name]);
}
return found.sort((x, y) => x[0] - y[0]).slice(0, 5);
"""

FACTS = """
return {
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  images: [...document.images].map(i => [i.complete, i.naturalWidth, i.alt.length > 0]),
  sections: [...document.querySelectorAll('main > section')].map(s => s.id),
  headings: [...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1])),
  scripts: document.scripts.length,
  dark: matchMedia('(prefers-color-scheme: dark)').matches,
  page: getComputedStyle(document.body).backgroundColor,
  unnamed: [...document.querySelectorAll('svg:not([aria-hidden] svg)')]
    .filter(s => !s.closest('[aria-hidden=true]') && !s.closest('[role=img][aria-label]')).length,
};
"""


# Both schemes at both widths for the page that has everything, and each once for the others.
VIEWS = [("proven", 1280, "light"), ("proven", 390, "dark")]
VIEWS += [(kind, width, scheme) for kind in KINDS for width, scheme in ((1280, "dark"), (390, "light"))]


@pytest.mark.parametrize(("kind", "width", "scheme"), VIEWS)
def test_the_report_is_shown_as_it_should_be(
    browser: Browser, make: Callable[..., Path], kind: str, width: int, scheme: str
) -> None:
    page = write_report(make(kind))
    browser.log("browser")
    requested(browser)  # what went on before is of no interest
    browser.show(page, width=width, scheme=scheme)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    facts = browser.run(FACTS)
    if folder := os.environ.get("REGRAFT_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{kind}-{width}-{scheme}.png").write_bytes(browser.picture())

    assert facts["overflow"] <= 0
    assert all(complete and wide > 0 and named for complete, wide, named in facts["images"])
    known = WHERE_KNOWN & set(facts["sections"])
    assert facts["sections"] == [name for name in SECTIONS if name in known or name not in WHERE_KNOWN]
    assert (known == WHERE_KNOWN) or kind != "proven"
    assert facts["headings"][0] == 1
    assert facts["headings"].count(1) == 1
    assert all(
        after - before <= 1 for before, after in zip(facts["headings"], facts["headings"][1:], strict=False)
    )
    assert facts["scripts"] == 0
    assert facts["unnamed"] == 0
    assert facts["dark"] == (scheme == "dark")
    assert (sum(map(int, re.findall(r"\d+", facts["page"]))) < 200) == (scheme == "dark")
    lowest = browser.run(CONTRAST)
    assert lowest[0][0] >= 4.5, lowest
    assert [entry["message"] for entry in browser.log("browser")] == []
    outside = [url for url in requested(browser) if not url.startswith(("file:", "data:"))]
    assert outside == []


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "dark"), (1280, "light"), (390, "dark"), (390, "light")]
)
@pytest.mark.parametrize("page", ["ranking", "comparison"])
def test_other_pages_are_shown_as_they_should_be(
    browser: Browser, make: Callable[..., Path], tmp_path: Path, page: str, width: int, scheme: str
) -> None:
    place = tmp_path / "page.html"
    if page == "ranking":
        board = board_json(40)
        board["rows"][3]["name"] += "_and_a_name_that_goes_on_" * 4
        write_ranking_page(board, place, data="photos/" * 20, next_line="regraft fit " + "photos/" * 20)
    else:
        folders = [make(kind) for kind in ("proven", "digits", "regression", "hostile", "long")]
        for folder in folders[1:]:
            shutil.copy(folders[0] / "target.json", folder)  # so that some stand on one axis
        write_comparison_page(compare_runs(folders), place)
    requested(browser)
    browser.show(place, width=width, scheme=scheme)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    facts = browser.run(FACTS)
    if folder := os.environ.get("REGRAFT_SCREENSHOTS"):
        (Path(folder) / f"{page}-{width}-{scheme}.png").write_bytes(browser.picture())
    assert facts["overflow"] <= 0
    assert facts["scripts"] == facts["unnamed"] == 0
    assert facts["headings"][0] == 1
    assert all(
        after - before <= 1 for before, after in zip(facts["headings"], facts["headings"][1:], strict=False)
    )
    lowest = browser.run(CONTRAST)
    assert lowest[0][0] >= 4.5, lowest
    assert [url for url in requested(browser) if not url.startswith(("file:", "data:"))] == []


def test_the_checks_see_what_they_are_for(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<body style='margin:0'><p style='color:#999'>pale</p><div style='width:2000px'>wide</div>"
        "<img src='http://127.0.0.1:9/x.png'><script>console.error('loud')</script>"
    )
    browser.log("browser")
    browser.show(page, width=390, scheme="light")
    assert browser.run(FACTS)["overflow"] > 0
    assert browser.run(FACTS)["images"][0][1] == 0
    assert browser.run(CONTRAST)[0][0] < 4.5
    assert any("loud" in entry["message"] for entry in browser.log("browser"))
    assert any(url.startswith("http:") for url in requested(browser))


def test_hostile_strings_stay_text(browser: Browser, make: Callable[..., Path]) -> None:
    page = write_report(make("hostile"))
    browser.show(page, width=1280, scheme="light")
    assert browser.run("return document.querySelectorAll('script, [onerror], [onload], main a').length") == 0
    assert browser.run("return [...document.images].every(i => i.src.startsWith('data:image/'))")
    assert "<script>alert(2)</script>" in browser.run("return document.body.innerText")


def test_the_report_prints_dark_on_white(browser: Browser, make: Callable[..., Path]) -> None:
    page = write_report(make("proven"))
    browser.show(page, width=1280, scheme="dark")
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    browser.develop("Emulation.setEmulatedMedia", media="print", features=[dark])
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.run(CONTRAST)[0][0] >= 4.5
