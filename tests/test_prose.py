"""What is written about records by hand is read again when they change.

These pages discuss measurements in words. A new measurement may leave the words behind, and no program reads them.
"""

import hashlib

import pytest
from PIL import Image

from siam import runs
from siam.pages import figures
from siam.paths import RESULTS, ROOT

# Page: what its words are about, and the SHA-256, shortened, of what they were last read beside.
READ = {
    "adaptive": ("adaptive/record.json", "c5e31a1de03baea9"),
    "boundary": ("boundary/record.json", "927df52829e6e369"),
    "bound": ("bound/tallies.npz", "702fec57f0cae439"),
    "gradients": ("gradients/record.json", "12e54051f77c1796"),
    "learnt": ("learnt/record.json", "f7ca374c509a6550"),
    "live": ("live/images.json", "301df91e9625c345"),
    "svm": ("svm/argument.json", "4b55cdee887f2fc1"),
    "table4": ("", "8c4e98055b12eaef"),
}


@pytest.mark.parametrize("page", READ)
def test_the_words_of_a_page_were_read_beside_its_numbers(page):
    place, digest = READ[page]
    transfers = figures.transfers().numbers.frame.to_csv().encode()
    found = runs.digest(RESULTS / place) if place else hashlib.sha256(transfers).hexdigest()[:16]
    assert found == digest, f"new numbers: read notebooks/{page}.ipynb again, mend its words, and write {found} here"


@pytest.mark.parametrize("name", ["live.png", "vote.png", "explorer.png"])
def test_pictures_of_the_book_show_records_that_there_are(name):
    shown = Image.open(ROOT / "book" / "assets" / name).text["records"].split()
    there = {path.stem for path in (RESULTS / "evaluation").glob("*.json")} | {runs.digest(RESULTS / "live" / "images.json")}
    assert shown and set(shown) <= there, "shoot them anew: make pictures"
