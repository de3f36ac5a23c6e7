"""Take the documentation's pictures of the web page anew, in a real browser at 1280 and 390 px: `python tests/support/pictures.py`.

The tutorial's from its own logs; the others from a real event set, of car loans, where that is to be had (GNOMON_DATA).
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from support.chromium import browser
from support.pages import ROOT, follow

WIDE, NARROW, MARGIN = 1280, 390, 16
LOANS = Path(os.environ.get("GNOMON_DATA") or ROOT / "../shared/data") / "nannyml_car_loan"
POLICY = "[models.car-loan]\ncost = { fp = 2500.0, fn = 5000.0 }\n"
IMAGES = ROOT / "docs/img"


def picture(page: Any, width: int, since: str, until: str | None, name: str, *, most: int) -> None:
    """Take what lies between two headings (selectors; None: the end), ``most`` px of it."""
    page.set_viewport_size({"width": width, "height": 900})
    top = page.locator(since).first.bounding_box()["y"] - MARGIN
    end = page.locator(until).first.bounding_box()["y"] if until else page.evaluate("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": max(top, 0), "width": width, "height": min(end - max(top, 0), most)}
    page.screenshot(path=IMAGES / name, clip=clip, full_page=True)


def main() -> None:
    """Make the pages, and take the pictures."""
    with tempfile.TemporaryDirectory() as name, browser() as context:
        folder, page = Path(name), context.new_page()  # type: ignore[attr-defined]
        follow("docs/tutorial.md", folder)
        page.goto((folder / "report.html").as_uri())
        picture(page, WIDE, "h1", "h3:has-text('Money'), h3:has-text('Calibration')", "tutorial-report.png", most=1900)
        if not LOANS.is_dir():
            print(f"no event set at {LOANS}: the other pictures stay", file=sys.stderr)
            return
        (folder / "policy.toml").write_text(POLICY)
        logs = [str(LOANS / f"{topic}.jsonl.gz") for topic in ("predictions", "outcomes")]
        subprocess.run(["gnomon", "replay", *logs, "--policy", "policy.toml", "--html", "loans.html"], cwd=folder, check=True)
        page.goto((folder / "loans.html").as_uri())
        picture(page, WIDE, "h1", None, "html-report-incidents.png", most=1250)
        picture(page, WIDE, "h3:has-text('Over time')", "h3:has-text('Calibration')", "html-report-over-time.png", most=1700)
        picture(page, WIDE, "h3:has-text('Calibration')", None, "html-report-groups.png", most=1300)
        picture(page, NARROW, "h1", None, "html-report-phone.png", most=1100)
        picture(page, NARROW, "h3:has-text('Groups')", None, "html-report-phone-groups.png", most=1100)


if __name__ == "__main__":
    main()
