"""Headless Chromium for the tests of pages, and the screens that they are shown on."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DESKTOP, PHONE, PROJECTOR = ({"width": w, "height": h} for w, h in ((1280, 900), (360, 740), (1920, 1080)))


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser, or a skip where it or what drives it is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="drives the browser: pip install -e '.[test]'")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not program:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()
