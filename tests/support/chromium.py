"""A real browser: Debian's Chromium, without a window, driven by Playwright."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

PROGRAM = "chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class NoBrowserError(RuntimeError):
    """There is no browser here."""


@contextmanager
def browser() -> Iterator[object]:
    """Yield a browser context with a profile of its own.

    Raises
    ------
    NoBrowserError
        If Chromium or Playwright are not installed.

    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise NoBrowserError("there is no chromium; on Debian: tests/support/install_services")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise NoBrowserError("there is no playwright; pip install playwright") from error
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(profile, executable_path=program, args=FLAGS)
        try:
            yield context
        finally:
            context.close()
