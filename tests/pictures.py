"""The pictures of the README and of the first page, shot from the built book as it is: `make pictures`.

Each says in its PNG's text "records" what it shows, and a test holds that against the records there are.
"""

import io
import re
import shutil
import sys
from pathlib import Path

from conftest import CHROMIUM, FLAGS, served
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import sync_playwright

from siam.paths import RESULTS, ROOT
from siam.runs import digest

ASSETS = ROOT / "book" / "assets"


def keep(name, shot, records):
    info = PngInfo()
    info.add_text("records", records)
    picture = Image.open(io.BytesIO(shot)).convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    picture.save(ASSETS / name, optimize=True, pnginfo=info)
    print(f"{ASSETS / name}: {records}")


def main():
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None) or sys.exit(f"error: there is none of {', '.join(CHROMIUM)}")
    with sync_playwright() as driver, served(Path(ROOT, "book", "_build", "html")) as base:
        chromium = driver.chromium.launch(executable_path=executable, args=FLAGS)
        page = chromium.new_page(viewport=dict(width=1000, height=1400), device_scale_factor=1.2)
        page.goto(base + "notebooks/explorer.html")
        explorer = page.get_by_test_id("siam-explorer")
        ids = re.findall(r"\b[0-9a-f]{16}\b", page.get_by_test_id("siam-readout").inner_text())
        keep("explorer.png", explorer.screenshot(), " ".join(dict.fromkeys(ids)))
        page.goto(base + "notebooks/live.html")
        page.get_by_role("radio", name="the attacked image").check()
        # Attack and votes are computed in the page, and again when the noise of the weights has come.
        page.wait_for_selector('[data-testid="siam-live"][data-settled*="attacked=1"][data-noise="here"]', timeout=300_000)
        live, rules = page.get_by_test_id("siam-live").bounding_box(), page.locator(".live-verdicts").bounding_box()
        above = live | dict(height=rules["y"] + rules["height"] + 8 - live["y"])
        verdict, stage = (page.locator(of).bounding_box() for of in (".live-verdict", ".live-stage"))
        ballot = live | dict(y=verdict["y"] - 8, height=stage["y"] + stage["height"] + 16 - verdict["y"])
        for name, clip in (("live.png", above), ("vote.png", ballot)):
            keep(name, page.screenshot(clip=clip, full_page=True), digest(RESULTS / "live" / "images.json"))
        chromium.close()


if __name__ == "__main__":
    main()
