"""The page, in a real browser: it fits wide and narrow windows, needs no network, and shows names as they are."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmcache.fuse.report import make_report, render

WIDTHS = (1400, 390)
NASTY = '<script>alert("x")</script> & <img src=http://evil.example/x onerror=y> "quoted"'

# The page in a frame of each width; what does not fit, and what is asked of the network, is written into the title.
PROBE = """<!doctype html><meta charset="utf-8"><body><script>
const page = %s, found = [], widths = %s
function look(frame, width) {
  const root = frame.contentDocument.documentElement
  const end = root.clientWidth + 1
  const boxes = [...root.querySelectorAll("p, h1, h2, h3, h4, li, figure, svg, .scroll")]
  found.push({
    width, window: root.clientWidth, document: root.scrollWidth, height: root.scrollHeight,
    outside: boxes.filter(b => b.getBoundingClientRect().right > end).map(b => b.outerHTML.slice(0, 9)),
    scripts: root.querySelectorAll("script, [onerror], [src]").length,
    resources: frame.contentWindow.performance.getEntriesByType("resource").length,
  })
  if (found.length == widths.length) document.title = JSON.stringify(found)
}
for (const width of widths) {
  const frame = document.createElement("iframe")
  frame.style = `width: ${width}px; height: 800px; border: 0`
  frame.onload = () => look(frame, width)
  frame.srcdoc = page
  document.body.append(frame)
}
</script>"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run headless Chromium and return what it prints."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(names)} is on PATH (Debian: apt-get install chromium)")
    profile = tmp_path_factory.mktemp("browser")

    def run(*arguments: str) -> str:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        command = [path, *flags, f"--user-data-dir={profile}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


@pytest.fixture(scope="module")
def page(write_runs_in: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Many methods, fifteen subsets, published figures, long and hostile names, and runs that are left out."""
    folder = tmp_path_factory.mktemp("runs")
    for strategy in ("zeros", "skip", "dropout", "mmt", "karmma", "actionmae", "shaspec", "compass"):
        for seed in range(2):
            write_runs_in(folder / f"{strategy}-{seed}", strategy, seed, tasks={"class": 5})
    four = ("depth", "ir", "rgb", "skeleton")
    write_runs_in(folder / "four", "zeros", 0, four, {"action": 60}, dataset="ntu60", split="test")
    write_runs_in(folder / "published", "karmma", modalities=("audio", "flow", "rgb"), tasks={"verb": 97, "noun": 300})
    write_runs_in(folder / "nasty", "mmg", anchor=NASTY, dataset=NASTY, tasks={"class": 5})
    write_runs_in(folder / "nasty-too", "mmg", anchor="a" * 200, dataset=NASTY, tasks={"class": 5})
    (write_runs_in(folder / "unfinished") / "summary.json").unlink()
    return render(make_report([folder], title=NASTY), "html")


def test_page_fits_the_window_and_asks_for_nothing(page: str, browser: Callable[..., str], tmp_path: Path) -> None:
    literal = json.dumps(page).replace("</", "<\\/")
    (tmp_path / "probe.html").write_text(PROBE % (literal, json.dumps(WIDTHS)))
    dom = browser("--virtual-time-budget=20000", "--dump-dom", (tmp_path / "probe.html").as_uri())
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title, dom[-500:]
    found = {entry["width"]: entry for entry in json.loads(html.unescape(title[1]))}
    assert set(found) == set(WIDTHS)
    for width, entry in found.items():
        assert width - 20 <= entry["window"] <= width
        assert entry["document"] <= entry["window"], entry
        assert entry["height"] > 3000
        assert entry["outside"] == []
        assert entry["scripts"] == 0
        assert entry["resources"] == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_page_shows_something(width: int, page: str, browser: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page)
    shot = tmp_path / "shot.png"
    browser(f"--window-size={width},4000", f"--screenshot={shot}", (tmp_path / "page.html").as_uri())
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert pixels.shape == (4000, width)
    bands = pixels.reshape(10, 400, width)
    assert (np.ptp(bands.reshape(10, -1), axis=1) > 150).all()  # dark on light in every band of the window
    assert 0.02 < (pixels < 200).mean() < 0.5


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))


def test_page_is_self_contained_and_escaped(page: str) -> None:
    parser = _Elements()
    parser.feed(page)
    tags = {tag for tag, _ in parser.opened}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert {"table", "svg", "nav", "figure", "main"} <= tags
    for _, attributes in parser.opened:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "action"):
                assert (value or "").startswith("#")
    own = page.replace(html.escape(NASTY).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"), "")
    assert "http" not in re.sub(r"http(?=-equiv)|http:/(<wbr>)?/(<wbr>)?evil", "", own)
    ids = [attributes["id"] for _, attributes in parser.opened if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for _, a in parser.opened for n, value in a.items() if n == "href" and value}
    assert targets <= set(ids)


def test_left_out_runs_are_on_the_page(page: str) -> None:
    assert "Folders that are in no table (1)" in page
    assert "unfinished" in page
