"""Chromium for tests of the page, which are skipped where it is missing."""

import contextlib
import importlib.util
import os
import pathlib
import shutil

import pytest

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip


def browser_path():
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def need_browser():
    """Skips the test where no browser can be driven."""
    if browser_path() is None:
        pytest.skip("no Chromium on the PATH")
    pytest.importorskip("playwright", reason="needs the package playwright")


@contextlib.contextmanager
def opened():
    """Yields a running headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=browser_path(), headless=True, args=FLAGS
        )
        yield found
        found.close()


def axe_path():
    """Returns the path of axe-core's script, or None if it is not installed.

    It is looked for in AXE_CORE, in a Python package and in node_modules.
    """
    places = [os.environ.get("AXE_CORE", "")]
    package = importlib.util.find_spec("axe_playwright_python")
    if package:
        places += [
            f"{folder}/axe.min.js"
            for folder in package.submodule_search_locations or ()
        ]
    root = pathlib.Path(__file__).parent.parent
    places.append(f"{root}/node_modules/axe-core/axe.min.js")
    return next((place for place in places if os.path.isfile(place)), None)
