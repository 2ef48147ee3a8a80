"""Layers' noise stronger than trained: what attacks are made on, a record that goes on, the page on cells whose answer is known."""

import json
import re
from itertools import product

import numpy as np
import pytest
import torch
from conftest import plain

from siam import bits, models, runs
from siam.folding import Folded
from siam.pages import strength as page
from siam.pages import words_of_tables
from siam.paths import CHECKPOINTS, RESULTS
from siam.seeding import seeded
from siam.studies import adaptive, strength

CELLS = (("cpni-w-cpu-0", 1, 0.0), ("cpni-w-cpu-0", 3, 0.0))
GREY = 128


def logits(model, x):
    with torch.no_grad(), seeded(1):
        return model(x)


def test_attacks_on_the_trained_noise_and_on_none_are_not_made_on_the_stronger():
    x = torch.rand(4, 3, 32, 32)
    nets = {k: strength.networks("cpni-w-cpu-0", k, 0.0) for k in (0, 1, 3)}
    trained = logits(Folded(models.load(CHECKPOINTS / "cpni-w-cpu-0.safetensors")), x)
    for k, of in nets.items():
        assert torch.equal(logits(of[strength.TRAINED], x), trained)
        assert torch.equal(logits(of[strength.OFF], x), logits(nets[1][strength.OFF], x))
        assert torch.allclose(logits(of[strength.ITSELF], x), trained, atol=1e-4) == (k == 1)
    assert torch.allclose(logits(nets[0][strength.ITSELF], x), logits(nets[0][strength.OFF], x), atol=1e-4)


class Marks(torch.nn.Module):
    """A network that looks at a single pixel: class 0 where that of a grey image was not made as dark as an attack makes it."""

    def __init__(self, at):
        super().__init__()
        self.at, self.asked = at, 0

    def forward(self, x):
        self.asked += 1
        mark = 50 * (x[:, 0, 0, self.at] - GREY / 255 + 0.74 * 8 / 255)
        return torch.stack([mark, -mark], 1)


def marks(*_):
    """Each of the three networks as if it were right about another pixel."""
    return {of: Marks(i) for i, of in enumerate((strength.ITSELF, strength.TRAINED, strength.OFF))}


@pytest.mark.parametrize("name", strength.ATTACKERS)
def test_every_attacker_attacks_what_it_says(name):
    (attacker, on), nets = strength.ATTACKERS[name], marks()
    x, y = torch.full((3, 3, 8, 8), GREY / 255), torch.zeros(3, dtype=torch.int64)
    moved = (attacker(nets[strength.ITSELF], nets[on], x, y) - x)[:, 0, 0, :3]
    at = nets[on].at
    gradients = {"PGD": 7, "EPGD": 7 * 8, "EPGD, 32 draws": 7 * 32, "EPGD, noise as trained": 7 * 8, "noise off": 7,
                 "aimed at the border, noise as trained": 160}
    assert {of: net.asked for of, net in nets.items() if net.asked} == {on: gradients[name]}
    others = moved[:, [i for i in range(3) if i != at]]  # they stay where they started, somewhere in the ball
    assert (moved[:, at] <= -0.74 * 8 / 255).all() and others.max() > -0.5 * 8 / 255


def test_the_votes_are_those_of_the_stronger_noise_over_the_attacked_images(tmp_path, monkeypatch):
    """Where the attack was made on the network itself all of its votes are lost, else its pixel stays about where the attack began."""
    grey = torch.full((20, 3, 8, 8), GREY, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64)
    for module, name, value in ((strength, "networks", marks), (strength, "images", lambda *_: grey), (strength, "M", 2),
                                (adaptive, "PRECISION", "fp32")):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setitem(strength.SETTINGS, "batch", 10)
    path = strength.measure(tmp_path / "record.json", CELLS[:1], results=tmp_path, n=20)
    cells = json.loads(path.read_text())["cells"]
    assert len(cells) == 2 + len(strength.ATTACKERS)
    for cell in cells:
        attacked, right = cell["attacker"], bits.unpack(cell["right"], 2, 20).mean()
        assert right == 1 if not attacked else right == 0 if strength.ATTACKERS[attacked][1] == strength.ITSELF else right > 0.6


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with the record of two cells and twenty images under two attackers, cut off once and then grown by a cell."""
    folder = tmp_path_factory.mktemp("results")
    path, images, measure_one, calls = folder / "strength" / "record.json", strength.images, strength.measure_one, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strength, "images", lambda split, n: images("sample-test", n))
        for name, value in dict(M=2, ATTACKERS={name: strength.ATTACKERS[name] for name in ("PGD", "noise off")},
                                ASKED={"heldout": ("PGD",), "test": ("", "PGD", "noise off")}).items():
            patch.setattr(strength, name, value)
        patch.setattr(adaptive, "BATCH", 10)
        patch.setitem(strength.SETTINGS, "batch", 10)

        def cut(*of):
            calls.append(of)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return measure_one(*of)

        patch.setattr(strength, "measure_one", cut)
        asked = dict(path=path, results=folder, n=20)
        with pytest.raises(KeyboardInterrupt):
            strength.measure(cells=CELLS, **asked)
        assert len(json.loads(path.read_text())["cells"]) == 2
        strength.measure(cells=CELLS, **asked)
        assert len(calls) == 9
        strength.measure(cells=[*CELLS[:1], ("cpni-w-cpu-0", 2, 0.0), *CELLS[1:]], **asked)
        assert len(calls) == 13
        with pytest.raises(ValueError, match="record.json: measured with different n: move it away to measure again"):
            strength.measure(path, cells=CELLS, results=folder, n=30)
        with pytest.raises(ValueError, match="images = 10: give a multiple of 10, 20 or more"):  # else the page could not be made
            strength.measure(path, cells=CELLS, results=folder, n=10)
    return folder


def test_the_record_is_in_the_order_of_its_cells(small):
    record = page.read(small)
    found = [strength.named(cell)[1:] for cell in record["cells"]]
    asked = [("heldout", "PGD"), ("test", ""), ("test", "PGD"), ("test", "noise off")]
    assert found == [(k, 0.0, *which) for k in (1, 2, 3) for which in asked]


def test_the_page_of_a_small_record(small):
    figure = page.curves(small)
    assert len(figure.panels) == 2 and "no attack" not in figure.panels[0] and "no attack" in figure.panels[1]  # an axis of its own
    assert list(figure.legend) == ["no attack", "PGD", "noise off", "any of them"]
    assert len(figure.numbers.frame) == 3 * 4 and list(dict.fromkeys(figure.numbers.frame["k"])) == ["1", "2", "3"]
    assert figure._repr_html_() == page.curves(small)._repr_html_()


def write(folder, cells, n=400, checkpoints=("cpni-w-fast-0",)):
    """A record of cells (k, split, attacker, right [n] of the vote): one pass is right on every other of those."""
    rows = []
    for checkpoint, (k, split, attacker, right) in product(checkpoints, cells):
        once = right & (np.arange(n) % 2 == 0)
        rows.append(dict(checkpoint=checkpoint, label="CPNI-W", trained="fast", tier="cpu", strength=k, sigma=0.24, split=split,
                         attacker=attacker, draws=[1, 2], right=bits.pack(np.stack([once, right]))))
    runs.write_json(folder / "strength" / "record.json", dict(kind="strength", cells=rows, epsilon=8.0, batch=100, n=n))


@pytest.fixture
def folder(tmp_path):
    """Held-out images choose k = 2, which takes clean accuracy and gives it back under attack."""
    first = {count: np.arange(400) < count for count in (80, 100, 120, 160, 200, 240, 300, 320)}
    trained = {("heldout", "PGD"): 160, ("test", ""): 320, ("test", "PGD"): 160, ("test", "EPGD"): 100, ("test", "noise off"): 80}
    stronger = {("heldout", "PGD"): 200, ("test", ""): 300, ("test", "PGD"): 240, ("test", "EPGD"): 120}
    cells = [(k, *which, first[count]) for k, of in ((1, trained), (2, stronger)) for which, count in of.items()]
    write(tmp_path, cells := [*cells, (2, "test", "noise off", ~first[240])])
    write(tmp_path / "twice", cells, checkpoints=("cpni-w-fast-0", "cpni-w-fast-1"))
    return tmp_path


def test_the_choice_is_made_on_heldout_images_and_held_against_the_trained_noise(folder):
    rows = page.choice(folder).frame.set_index("Attacker")
    assert set(rows["Rows"]) == {"CPNI-W (fast), σ = 0.24, k = 2"}
    got = {name: row["difference"].split(" ±")[0] for name, row in rows.iterrows()}
    # "noise off" leaves k = 2 the images that the others take: none survive all of them.
    assert got == {"no attack": "−5.0", "PGD": "+20.0", "EPGD": "+5.0", "noise off": "+20.0", "any of them": "−20.0"}
    assert rows.loc["PGD", "k = 1, %"].startswith("40.0 (") and rows.loc["PGD", "chosen k, %"].startswith("60.0 (")
    assert list(rows["paper, M = 512, %"]) == ["81.4", "55.9", "44.4", "", ""]
    assert list(dict.fromkeys(page.choice(folder / "twice").frame["Rows"])) == [
        f"CPNI-W (fast, cpni-w-fast-{seed}), σ = 0.24, k = 2" for seed in (0, 1)]


def test_the_words_name_the_strongest_attacker_of_each(folder):
    (said,) = plain(page.in_words(folder)).splitlines()
    assert said.startswith("- **CPNI-W (fast), σ = 0.24**: held-out images choose noise 2 times as strong as trained.")
    assert "It changes the vote by −5.0 ±" in said
    assert said.endswith(" strongest attacker leaves 30.0 % with that noise (*EPGD*) and 20.0 % with the noise as trained (*noise off*).")
    assert " and one pass on clean images by −2.5 ±" in said


def test_the_first_page_says_what_it_is_worth(folder):
    assert re.sub(" ± [\\d.]+", "", plain(page.headline(folder))).endswith(
        " that is made 2 times as strong after training, as held-out images choose, adds +20.0 points to the vote under PGD and +5.0 under"
        " EPGD; the share of images that survive all attackers of that page changes by −20.0, and accuracy on clean images by −5.0 (CPNI-W,"
        " σ = 0.24, M = 2, trained at tier fast; tier cpu, n = 400).")
    assert page.headline(folder) in words_of_tables.headlines(folder).replace("\u00a0", " ")


def test_where_the_trained_noise_is_chosen_or_lacking_nothing_is_said_to_be_gained(folder):
    record = json.loads((folder / "strength" / "record.json").read_text())
    for cell in record["cells"]:
        cell["strength"] = {1: 2, 2: 1}[cell["strength"]]
    runs.write_json(folder / "strength" / "record.json", record)
    assert plain(page.in_words(folder)) == "- **CPNI-W (fast), σ = 0.24**: held-out images choose the noise as trained."
    assert page.headline(folder) is None
    runs.write_json(folder / "strength" / "record.json", record | {"cells": [cell for cell in record["cells"] if cell["strength"] == 2]})
    assert page.curves(folder).panels == [] and page.groups(page.read(folder)) == []


def test_the_committed_record():
    record = page.read()
    there = {models.about(path)["digest"] for path in CHECKPOINTS.glob("*.safetensors")}
    assert {cell["digest"] for cell in record["cells"]} <= there and record["n"] >= 1000
    found = {strength.named(cell) for cell in record["cells"]}
    assert found == {(*cell, split, name) for cell in strength.CELLS for split, names in strength.ASKED.items() for name in names}
    assert (RESULTS / page.PLACE).stat().st_size < 500_000
