"""Tests that the site builds without a warning and fits a phone."""

import pathlib
import subprocess
import sys

import browsers
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow
pytest.importorskip("mkdocs", reason="needs the extra docs")
pytest.importorskip("mkdocstrings", reason="needs the extra docs")

# Elements beyond the right edge that are in no scrolling element.
_BEYOND = """() => [...document.querySelectorAll('.md-content *')].filter(e => {
  const box = e.getBoundingClientRect();
  if (!box.width || box.right <= innerWidth + 1) return false;
  for (let up = e.parentElement; up; up = up.parentElement)
    if (getComputedStyle(up).overflowX !== 'visible') return false;
  return true;
}).map(e => e.textContent.slice(0, 60))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built with strict links."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", folder],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_pages_are_there(site):
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    written = {
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        for path in (ROOT / "docs").rglob("*.md")
    }
    assert written <= pages
    assert {"index.html", "contributing.html", "changes.html"} <= pages
    assert "layerwise_lr_decay" in (
        site / "search" / "search_index.json"
    ).read_text("utf-8")
    text = (site / "reference" / "tasks.html").read_text("utf-8")
    assert "Sorts texts, or pairs of texts, into classes." in text


@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit(site, width):
    browsers.need_browser()
    urls = []
    with browsers.opened() as browser:
        page = browser.new_page(viewport={"width": width, "height": 844})
        page.on("request", lambda request: urls.append(request.url))
        for path in sorted(site.rglob("*.html")):
            page.goto(path.as_uri())
            assert page.evaluate(_BEYOND) == [], path.name
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, path.name
    outside = {url for url in urls if url.startswith("http")}
    assert not outside  # the site loads no other address
