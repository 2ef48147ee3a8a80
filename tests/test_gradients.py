"""Perceptually aligned gradients: the attack's bounds, the alignment of a network whose answer is known, the page."""

import json
import re

import numpy as np
import pytest
import torch
from conftest import refuses_a_damaged_part

from siam import runs
from siam.attacks import gradient, towards
from siam.pages import gradients as page
from siam.paired import interval_of
from siam.paths import RESULTS
from siam.studies import gradients


@pytest.fixture
def x():
    return torch.rand(12, 3, 8, 8)


@pytest.fixture
def y():
    return torch.arange(12) % 10


class Linear(torch.nn.Module):
    """Logits that grow towards the mean image of each class: softmax of w_c · x, with w_c the mean image [C, 3, H, W]."""

    def __init__(self, means):
        super().__init__()
        self.means = means

    def forward(self, x):
        return x.flatten(1) @ self.means.flatten(1).T


@pytest.mark.parametrize("epsilon", [0.1, 2.0, 50.0])
def test_attack_stays_in_the_ball_and_among_pixels(x, y, epsilon):
    objective = towards(Linear(torch.randn(10, 3, 8, 8)), y)
    attacked = gradients.l2_pgd(objective, x, epsilon=epsilon, step=epsilon / 4, steps=9)
    assert attacked.min() >= 0 and attacked.max() <= 1
    length = (attacked - x).flatten(1).norm(dim=1)
    assert (length <= epsilon * (1 + 1e-5)).all() and (length > 0).all()
    assert (objective(attacked) > objective(x)).all()
    if epsilon == 0.1:  # too small to reach the faces of the cube everywhere, so the attack spends what it has
        assert (length > 0.05).all()


def test_tiny_gradients_keep_their_direction(x):
    g = x - 0.5
    assert torch.allclose(gradients.unit(1e-30 * g), gradients.unit(g), atol=1e-5)
    assert torch.allclose(gradients.norm(gradients.unit(g)), torch.ones(12, 1, 1, 1))
    assert (gradients.unit(0 * g) == 0).all()


def test_targets_cover_all_other_classes_equally():
    y = torch.arange(90).remainder(10)[torch.randperm(90)]
    target = gradients.wanted(y)
    assert (target != y).all()
    pairs = torch.zeros(10, 10, dtype=torch.int64).index_put((y, target), torch.tensor(1), accumulate=True)
    assert (pairs + torch.eye(10, dtype=torch.int64) == 1).all()
    first = torch.stack([(y == c).nonzero()[0, 0] for c in range(10)])
    assert target[first].tolist() == [(c + 1) % 10 for c in range(10)]


def test_class_means():
    x = torch.tensor([0, 255, 51, 51], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    means = gradients.class_means(x, torch.tensor([0, 0, 1, 1]), classes=2)
    assert torch.allclose(means[:, 0, 0, 0], torch.tensor([0.5, 0.2]))


def test_alignment_with_known_answers(y):
    means = torch.zeros(10, 3, 8, 8).flatten(1)
    means[torch.arange(10), torch.arange(10)] = 1  # ten directions at right angles
    means, x, target = means.view(10, 3, 8, 8), torch.zeros(12, 3, 8, 8), (y + 3) % 10
    cosine, others = gradients.alignment(means[target], x, means, target, y)
    assert torch.allclose(cosine, torch.ones(12)) and torch.allclose(others, torch.zeros(12))
    cosine, others = gradients.alignment(means.sum(0).expand(12, -1, -1, -1), x, means, target, y)
    assert torch.allclose(cosine, torch.full((12,), 10**-0.5)) and torch.allclose(others, cosine)
    # The gradient of log softmax at 0 is μ_t less the mean of all μ_c: cosine sqrt(1 - 1/10), to others -1/sqrt(90).
    g = gradient(towards(Linear(means), target), x)
    cosine, others = gradients.alignment(g, x, means, target, y)
    assert torch.allclose(cosine, torch.full((12,), 0.9**0.5)) and torch.allclose(others, torch.full((12,), -(90**-0.5)))


def striped():
    """The mean images [10, 3, 32, 32] of classes that are grey but for a stripe of 300 pixels, each class for its own."""
    means = torch.full((10, 3072), 0.5)
    for c, stripe in enumerate(means):
        stripe[300 * c : 300 * (c + 1)] = 1
    return means.view(10, 3, 32, 32)


class Asked(Linear):
    """Such a network that keeps what it was asked about."""

    def __init__(self, means):
        super().__init__(means)
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach())
        return super().forward(x)


@pytest.mark.parametrize("arm, radius, samples", [("plain", 6, 1), ("short", 3, 1), ("cpni-8", 6, 8)])
@pytest.mark.parametrize("variant", gradients.VARIANTS)
def test_an_attack_goes_where_its_variant_says_as_far_as_its_arm_may_and_is_what_judges_see(monkeypatch, y, variant, arm, radius, samples):
    """On grey images a stripe lighter than the others is a class: a target that was reached, or all but the class that was left."""
    monkeypatch.setattr(gradients, "PRECISION", "fp32")
    x, target, means = torch.full((12, 3, 32, 32), 0.5), (y + 3) % 10, striped()
    victim, judge = Asked(0.02 * means), Asked(means)
    values, attacked = gradients.attack(arm, variant, x, y, target, means, 0, {"robust": judge}, victim)
    moved = (attacked - x).flatten(1)[:, :3000].view(12, 10, 300).mean(2)
    assert torch.allclose(values["length"], torch.full((12,), float(radius)), rtol=1e-3)
    assert len(judge.seen) == gradients.VOTES and len(victim.seen) == gradients.STEPS * samples + gradients.VOTES
    assert all(torch.equal(seen, attacked) for seen in judge.seen + victim.seen[-gradients.VOTES:])
    if variant == "targeted":
        assert all(torch.equal(of, target) for of in (moved.argmax(1), *(values[name] for name in ("aim", "own", "robust"))))
        assert (values["cosine"] > 0.9).all()
    else:
        assert torch.equal(moved.argmin(1), y) and (moved.sign().sum(1) == 8).all()
        assert (values["own"] != y).all() and (values["robust"] != y).all() and torch.equal(values["aim"], values["own"])


def test_the_slope_that_is_averaged_points_at_the_target(monkeypatch, y):
    """On passes that differ: the sum after the first draw is not yet their mean."""
    monkeypatch.setattr(gradients, "PRECISION", "fp32")
    x, target, means = torch.full((12, 3, 32, 32), 0.5), (y + 3) % 10, striped()

    def noisy(x):
        return Linear(0.02 * means * (1 + torch.rand(())))(x)

    for arm, draws in (("plain", (1,)), ("gauss-1", gradients.DRAWS)):
        found = gradients.slopes(arm, x, y, target, means, 0, noisy)
        assert tuple(found) == draws
        for values, g in found.values():
            stripes = g.flatten(1)[:, :3000].view(12, 10, 300).mean(2)
            assert torch.equal(stripes.argmax(1), target) and (values["cosine"] > 0.9).all() and (values["others"] < 0).all()
            assert (stripes.amax(1) > 0.009).all() and (stripes.amax(1) < 0.018).all()


def test_averages_and_shares():
    assert gradients.average(np.ones(200)) == {"mean": 1.0, "low": 1.0, "high": 1.0}
    shared = np.repeat(np.random.default_rng(1).normal(0.2, 1, 10), 100)  # all chance is in what a batch shares
    found, (mean, low, high) = gradients.average(shared), interval_of(shared[::100], 1)
    assert [found[name] for name in ("mean", "low", "high")] == pytest.approx([mean, low, high], abs=1e-4)
    assert gradients.share(np.array([True, False, False, False]))["count"] == 1


def test_bytes(x):
    assert gradients.as_bytes(x).shape == (12, 8, 8, 3) and gradients.as_bytes(x).dtype == np.uint8
    signed = gradients.signed_bytes(torch.cat([x[:1] - 0.5, torch.zeros(1, 3, 8, 8)]))
    assert signed[0].max() == 255 and signed[0].min() == 1 and (signed[1] == 128).all()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder of results with the record of four arms and twenty images, one step each, cut off once and made by two commits."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradients, "ARMS", {arm: gradients.ARMS[arm] for arm in ("plain", "gauss-1", "gauss-8", "short")})
        patch.setattr(gradients, "BATCH", 10)
        patch.setattr(gradients, "STEPS", 1)
        patch.setattr(gradients, "VOTES", 2)
        patch.setattr(gradients, "DRAWS", (1, 2))
        patch.setattr(gradients, "SETTINGS", gradients.SETTINGS | {"draws": [1, 2]})
        means = torch.rand(10, 3, 32, 32)
        asked = dict(path=folder / "gradients" / "record.json", n=20, results=folder, means=means, progress=False)
        job, jobs = gradients.job, []

        def cut(arm, batch, *rest):
            jobs.append((batch, arm))
            if len(jobs) == 4:
                patch.setattr(runs, "COMMIT", "another")
                raise KeyboardInterrupt
            return job(arm, batch, *rest)

        patch.setattr(gradients, "job", cut)
        with pytest.raises(KeyboardInterrupt):
            gradients.measure(**asked)
        refuses_a_damaged_part(folder / ".partial" / "gradients", lambda: gradients.measure(**asked))
        record = gradients.measure(**asked)
        assert len(jobs) == 9 and jobs[3] == jobs[4] and len(set(jobs)) == 8
        assert record["commit"] == "another" and [part["commit"] for part in record["begun"]] != ["another"]
        assert not list((folder / ".partial" / "gradients").iterdir())  # to measure again is to measure
        with pytest.raises(FileExistsError, match="record.json is there: move it away to measure again"):
            gradients.measure(**asked)
    return folder


def shape_of(record, pictures):
    arms = [arm["arm"] for arm in record["arms"]]
    for variant in gradients.VARIANTS:
        assert [row["arm"] for row in record["rows"] if row["attack"] == variant] == arms
        assert all(pictures[f"{arm}/{variant}"].shape == (len(record["shown"]), 32, 32, 3) for arm in arms if arm != "short")
    for row in record["rows"]:
        assert row["n"] == record["n"] and -1 <= row["cosine"]["low"] <= row["cosine"]["high"] <= 1
        radius = gradients.SHORT if row["arm"] == "short" else gradients.EPSILON
        assert row["attack"] == "gradient" or row["length"]["high"] <= 1.001 * radius
    assert all(picture.dtype == np.uint8 for picture in pictures.values())
    assert all(of["class"] != of["target"] for of in record["shown"])


def test_record_of_a_small_run(small):
    shape_of(*page.read(small))


def test_committed_record():
    record, pictures = page.read()
    shape_of(record, pictures)
    assert record["tier"] == "cpu" and record["n"] >= 1000
    assert sum(path.stat().st_size for path in (RESULTS / "gradients").iterdir() if path.is_file()) < 600_000


GRIDS = [page.attacked, page.perturbations, page.input_gradients]
TABLES = [page.looks, page.cosines, page.gradient_cosines, page.averaging]


def test_every_picture_says_what_it_shows(small):
    record, _ = page.read(small)
    for grid in [*(draw(folder=small) for draw in GRIDS), page.attacked("untargeted", small)]:
        html = grid._repr_html_()
        alts = re.findall('<img [^>]*alt="([^"]*)"', html)
        assert len(alts) == html.count("<img") == len(set(alts)) >= 2 * len(record["shown"]) and all(alts)
        assert re.search('role="region" aria-label="[^"]+"', html) and "image-rendering:pixelated" in html
        assert "Tier cpu" in repr(grid)


def test_tables_hold_every_row(small):
    record, _ = page.read(small)
    rows = {attack: sum(row["attack"] == attack for row in record["rows"]) for attack in ("targeted", "gradient")}
    assert len(page.looks(small).frame) == len(page.cosines(small).frame) == 2 * rows["targeted"]
    assert len(page.gradient_cosines(small).frame) == rows["gradient"] == 3
    assert len(page.averaging(small).frame) == 3
    assert all("tier cpu" in draw(small).caption.lower() for draw in TABLES)


def test_damaged_pictures_are_refused_by_name(small, tmp_path):
    (tmp_path / "gradients").mkdir()
    record = small / page.PLACE
    (tmp_path / page.PLACE).write_bytes(record.read_bytes())
    pictures = bytearray(record.with_suffix(".npz").read_bytes())
    pictures[len(pictures) // 2] ^= 1
    (tmp_path / page.PLACE).with_suffix(".npz").write_bytes(pictures)
    with pytest.raises(ValueError, match="record.npz: not the pictures of a record: "):
        page.read(tmp_path)


def test_pictures_are_the_same_every_time(small):
    assert page.perturbations(folder=small)._repr_html_() == page.perturbations(folder=small)._repr_html_()
    assert json.loads((small / "gradients" / "record.json").read_text())["kind"] == "gradients"


def test_the_plain_networks_have_the_names_of_every_page():
    names = set(page.looks().frame["Attacked network"])
    assert {"plain, normal training", "plain, normal training, σ = 0.24", "plain, adversarial training, radius 3"} <= names
    assert not {"plain", "plain adversarial"} & names
