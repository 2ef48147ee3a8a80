"""What is written about records by hand is read again when they change.

These pages discuss measurements in words. A new measurement may leave the words behind, and no program reads them.
"""

import hashlib

import pytest
from PIL import Image

from siam import runs
from siam.pages import figures, findings, learnt, strength, tables
from siam.pages import words_of_tables as words
from siam.paths import RESULTS, ROOT

# Page: what its words are about, a file of records or what a page says of them, and the SHA-256, shortened, of what they were last read
# beside.
READ = {
    "adaptive": (lambda: (RESULTS / "adaptive" / "record.json").read_text()
                 + next(line for line in words.headlines().splitlines() if "Without any noise" in line), "bf9657815bfa6972"),
    "batchnorm": (lambda: (RESULTS / "batchnorm" / "record.json").read_text() + findings.lengths().frame.to_csv(), "f9775468c5a90964"),
    "boundary": ("boundary/record.json", "927df52829e6e369"),
    "bound": ("bound/tallies.npz", "702fec57f0cae439"),
    "gradients": ("gradients/record.json", "12e54051f77c1796"),
    "learnt": (lambda: (RESULTS / "learnt" / "record.json").read_text() + learnt.comparison().frame.to_csv(), "3b83b6051fbe32a9"),
    "live": ("live/images.json", "ab34d21c2d7a3a6c"),
    "strength": ("strength/record.json", "86a8ef3b9678d638"),
    "svm": ("svm/argument.json", "d5297bd192f92047"),
    "table1": (lambda: findings.strengths().frame.to_csv() + words.ranks() + findings.lengths().frame.to_csv()
               + findings.noises().frame.to_csv() + tables.contrasts(1).frame.to_csv(), "6face1fdb122c094"),
    "table3": (lambda: strength.choice().frame.to_csv() + findings.summed().frame.to_csv() + findings.gains().frame.to_csv(),
               "6f3b34d7a1571212"),
    "table4": (lambda: figures.transfers().numbers.frame.to_csv() + tables.table(4).frame.to_csv(), "865941cfc4554233"),
}


@pytest.mark.parametrize("page", READ)
def test_the_words_of_a_page_were_read_beside_its_numbers(page):
    of, digest = READ[page]
    found = hashlib.sha256(of().encode()).hexdigest()[:16] if callable(of) else runs.digest(RESULTS / of)
    assert found == digest, f"new numbers: read notebooks/{page}.ipynb again, mend its words, and write {found} here"


@pytest.mark.parametrize("name", ["live.png", "vote.png", "explorer.png"])
def test_pictures_of_the_book_show_records_that_there_are(name):
    shown = Image.open(ROOT / "book" / "assets" / name).text["records"].split()
    there = {path.stem for path in (RESULTS / "evaluation").glob("*.json")} | {runs.digest(RESULTS / "live" / "images.json")}
    assert shown and set(shown) <= there, "shoot them anew: make pictures"
