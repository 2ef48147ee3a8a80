"""Decision boundaries: the measures are exact where the answer is known, and the page and the verdicts say what the record says."""

import json
from math import nan

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from scipy.stats import binom, norm

from conftest import refuses_a_damaged_part
from siam import claims, models, paired, runs
from siam.claims import rules
from siam.noise import GaussianInput
from siam.pages import boundary as page
from siam.pages import style
from siam.studies import boundary


class Told(torch.nn.Module):
    """A classifier of 10 classes that is told how: logits = 20 × one-hot of rule(x), a class for each image."""

    def __init__(self, rule):
        super().__init__()
        self.rule, self.input_noise = rule, GaussianInput(0.0)

    def forward(self, x):
        return 20 * torch.nn.functional.one_hot(self.rule(self.input_noise(x)), 10).float() + 0 * x.flatten(1).sum(1, keepdim=True)


def steps(x):
    """Class 0 or 1, by turns: it changes with every half ε of brightness."""
    return ((x.mean((1, 2, 3)) - 0.3) / boundary.EPSILON / 0.5 + 0.25).floor().long() % 2


def half(x):
    return (x.mean((1, 2, 3)) > 0.3 + 1.6 * boundary.EPSILON).long()


def test_changes_along_a_line_are_counted(monkeypatch):
    x = torch.full((2, 3, 32, 32), 0.3)
    monkeypatch.setattr(boundary, "attacked", lambda model, x, y: x + boundary.EPSILON)
    monkeypatch.setitem(boundary.DRAWS, "lines", 2)
    found = boundary.lines(Told(steps), Told(half), x, torch.zeros(2, dtype=torch.long), (0,))
    changes, changed = found["attack", 0]
    assert changes == 8 and list(changed[:5]) == [0, 0, 1, 1, 0]
    for M in (1, 2):
        changes, changed = found["attack", M]
        assert changes == 1 and list(changed) == [0] * 7 + [1] * 10
    assert found["random", 2][0] == 0  # as many pixels brighter as darker
    assert set(found) == {(direction, M) for direction in page.DIRECTIONS for M in (0, 1, 2)}


def test_places_of_a_line_see_the_same_draws(monkeypatch):
    monkeypatch.setitem(boundary.DRAWS, "lines", 1)
    chance, x = Told(lambda x: torch.randint(2, (len(x),))), torch.rand(32, 3, 32, 32)
    said = boundary.classes_along(chance, chance, x, torch.zeros_like(x), ("line",))[1]
    assert (said == said[0]).all() and 0 < said[0].mean() < 1


def test_what_competes_is_compared_under_the_same_draws(monkeypatch):
    monkeypatch.setattr(boundary, "attacked", lambda model, x, y: x)
    monkeypatch.setitem(boundary.DRAWS, "competing", 3)
    chance = Told(lambda x: torch.randint(2, (len(x),)))
    before, after = boundary.competing(chance, torch.rand(32, 3, 32, 32), torch.zeros(32, dtype=torch.long), ("k",))
    assert len(before) and (before == after).all() and before.std() > 0


def test_places_of_one_image_share_their_noise():
    x = torch.rand(5, 3, 8, 8)
    added = boundary.OneImage(0.3)(x) - x
    assert torch.allclose(added, added[:1].expand_as(added), atol=1e-6) and added[0].std() == pytest.approx(0.3, rel=0.2)
    assert torch.equal(boundary.OneImage(0.0)(x), x)


def test_a_slice_has_the_attack_to_the_right_and_the_other_direction_upwards(monkeypatch):
    x = torch.full((1, 3, 32, 32), 0.5)
    monkeypatch.setattr(boundary, "attacked", lambda model, x, y: x + boundary.EPSILON)
    monkeypatch.setitem(boundary.DRAWS, "slices", 1)
    still, noise = Told(lambda x: (x.mean((1, 2, 3)) > 0.5 + 1e-4).long()), GaussianInput(0.0)
    model = Told(lambda x: (x.mean((1, 2, 3)) > 0.5 - 1.01 * boundary.EPSILON).long())
    model.input_noise = noise
    classes = boundary.sliced(still, model, x, torch.tensor([0]), (0,))
    n, centre = boundary.SIDE, boundary.SIDE // 2
    assert classes.shape == (3, n, n) and model.input_noise is noise
    noisy = Told(lambda x: (x.sum((1, 2, 3)) > 0.5 * x[0].numel()).long())
    noisy.input_noise = GaussianInput(3.0)  # so strong that it alone decides: the same all over the slice
    _, one, _ = boundary.sliced(still, noisy, x, torch.tensor([0]), (0,))
    assert one.min() == one.max()
    assert (classes[0] == (np.arange(n) > centre)).all()
    assert (classes[2] == (np.linspace(-boundary.REACH, boundary.REACH, n) > -1.01)).all()

    torch.manual_seed(0)
    with boundary.seeded(0, "slice"):
        v = torch.randn_like(x).sign()
    v = v - v.mean()
    up = Told(lambda x: ((x * v).mean((1, 2, 3)) > 1e-6).long())
    assert (boundary.sliced(up, model, x, torch.tensor([0]), (0,))[0] == (np.arange(n) < centre)[:, None]).all()


def test_attacks_are_made_on_the_network_with_its_noise_and_judged_by_it(monkeypatch):
    """An attack makes its image so much darker that the network it was made on changes its class and the other one does not."""
    for name in boundary.DRAWS:
        monkeypatch.setitem(boundary.DRAWS, name, 2)
    x, y, step = torch.full((2, 3, 32, 32), 0.3), torch.ones(2, dtype=torch.long), boundary.EPSILON
    still, model = (Told(lambda x, at=at: (x.mean((1, 2, 3)) > 0.3 - at * step).long()) for at in (1.9, 0.4))
    monkeypatch.setattr(boundary, "attacked", lambda on, x, y: x - step * {still: 2.0, model: 0.5}[on])
    found = boundary.lines(still, model, x, y, (0,))
    for M, t in {0: 3.8, 1: 0.8, 2: 0.8}.items():
        assert list(found["attack", M][1]) == list(boundary.PLACES > t)
    assert boundary.competing(model, x, y, (0,)).shape == (2, 0)  # its attack succeeds on both images
    classes = boundary.sliced(still, model, x[:1], y[:1], (0,))
    reached = np.linspace(-boundary.REACH, boundary.REACH, boundary.SIDE)
    assert (classes[0] == 1).all() and (classes[1:] == (reached < 0.8)).all()


def test_the_attack_is_the_papers_and_the_vote_has_its_input_noise(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(boundary, "pgd", lambda loss, x, **how: asked.update(how) or x)
    x = torch.full((1, 3, 32, 32), 0.3)
    boundary.attacked(Told(steps), x, torch.tensor([0]))
    assert asked == dict(epsilon=8 / 255, step_size=2 / 255, steps=7)
    loaded = []

    def load(path, sigma):
        loaded.append((path, sigma))
        return models.classifier("plain", sigma=sigma)

    monkeypatch.setattr(boundary.models, "load", load)
    monkeypatch.setattr(boundary, "SHOWN", 0)
    monkeypatch.setattr(boundary, "lines", lambda still, *noisy: asked.update(still=still, lines=noisy[:3]) or {})
    monkeypatch.setattr(boundary, "competing", lambda *noisy: asked.update(competing=noisy[:3]) or np.full((2, 1), 0.25))
    monkeypatch.setattr(boundary, "certified", lambda *noisy: asked.update(certified=noisy[:3]) or np.full(1, -0.5))
    image, labels = torch.full((1, 3, 32, 32), 51, dtype=torch.uint8), torch.tensor([3])
    found = boundary.of_network(tmp_path / "a", 0.24, image, labels, lambda batch: tmp_path / f"{batch}.npz")
    assert (found["certified"], found["competing"]["before"], found["lines"], found["slices"]) == ([-0.5], [0.25], [], [])
    assert loaded == [(tmp_path / "a", 0.0), (tmp_path / "a", 0.24)] and asked["still"].input_noise.sigma == 0
    for measure in ("lines", "competing", "certified"):
        model, seen, of = asked[measure]
        assert model.input_noise.sigma == 0.24 and (seen == 0.2).all() and torch.equal(of, labels)


def test_only_images_that_stay_right_compete(monkeypatch):
    """Class 3 has 0.2 before and 0.3 after; the second image is lost to the attack."""
    x, y = torch.full((2, 3, 32, 32), 0.4), torch.tensor([0, 1])
    monkeypatch.setattr(boundary, "attacked", lambda model, x, y: x + 0.1)
    monkeypatch.setitem(boundary.DRAWS, "competing", 4)

    class Known(torch.nn.Module):
        def forward(self, x):
            share = torch.full((2, 10), 1e-9)
            share[:, 3] = 0.2 if x.mean() < 0.45 else 0.3
            share[0, 0] = 1 - share[0, 3]
            share[1, 1] = 1 - share[1, 3] if x.mean() < 0.45 else 1e-9
            return share.log()

    assert boundary.competing(Known(), x, y, (0,)) == pytest.approx(np.array([[0.2], [0.3]]), abs=1e-5)


@pytest.mark.parametrize("share, label, wanted", [(1.0, 4, 1), (1.0, 5, -1), (0.8, 4, 1), (0.4, 4, 0)])
def test_the_certified_radius_is_cohens(share, label, wanted):
    class Coin(torch.nn.Module):
        def forward(self, x):
            other = torch.randint(5, 10, (len(x),))
            named = torch.where(torch.rand(len(x)) < share, torch.full((len(x),), 4), other)
            return torch.nn.functional.one_hot(named, 10).float()

    ratios = boundary.certified(Coin(), torch.zeros(40, 3, 32, 32), torch.full((40,), label), (0,))
    assert (np.sign(ratios) == wanted).all()
    left = boundary.DRAWS["certified"] - boundary.DRAWS["chosen"]
    if share == 1:
        assert abs(ratios) == pytest.approx(norm.ppf(0.001 ** (1 / left)), abs=1e-6)
        assert ratios[0] * wanted == pytest.approx(page.largest(dict(alpha=boundary.ALPHA, draws=boundary.DRAWS)))
    if share == 0.8:  # below the true radius, and what it was computed from is no less likely than alpha
        assert (ratios < norm.ppf(0.8)).all() and (ratios > 0.3).all()
        assert binom.sf(np.round(0.8 * left), left, norm.cdf(ratios).mean()) < 0.02


def test_without_noise_is_without_noise():
    path = boundary.CHECKPOINTS / "cpni-w-cpu-0.safetensors"
    x, model = torch.rand(2, 3, 32, 32), boundary.without_noise(models.load(path, 0.0))
    with torch.no_grad():
        assert torch.equal(model(x), model(x))
        plain = models.load(path, 0.0).eval()
        for module in plain.modules():
            if hasattr(module, "weight_noise"):
                module.weight_noise = torch.nn.Identity()
        assert torch.allclose(model(x), plain(x), atol=1e-4)
        noisy = models.classifier("CPNI-A-a").eval()  # untrained: noise in its activations alone, but for the last layer
        still = boundary.without_noise(noisy)
        assert torch.equal(still(x), still(x)) and not torch.equal(noisy(x), noisy(x))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A record of two networks and 20 images of the sample, measured small."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boundary, "BATCH", 10)
        patch.setattr(boundary, "SIDE", 5)
        patch.setattr(boundary, "SHOWN", 2)
        patch.setattr(boundary, "PLACES", np.linspace(0, 4, 5))
        for name, M in dict(lines=2, competing=4, chosen=4, certified=16, slices=2).items():
            patch.setitem(boundary.DRAWS, name, M)
        patch.setitem(boundary.SETTINGS, "places", boundary.PLACES.tolist())
        asked = dict(checkpoints=boundary.CHECKPOINTS, results=folder, split="sample-test", n=20)
        path = boundary.measure(folder / "boundary" / "record.json", {"cpni-w-cpu-0": 0.24}, **asked)
        first = json.loads(path.read_text())["networks"]
        calls, of_network = [], boundary.of_network
        patch.setattr(boundary, "of_network", lambda path, *rest: calls.append(path.stem) or of_network(path, *rest))
        boundary.measure(path, {"cpni-w-cpu-0": 0.24, "gauss-long-0": 0.37}, **asked)
        before = path.read_bytes()
        patch.setitem(boundary.SETTINGS, "side", 7)
        with pytest.raises(ValueError, match="record.json: measured with different side: move it away"):
            boundary.measure(path, {"plain-cpu-0": 0.24}, **asked)
        assert path.read_bytes() == before
        with pytest.raises(ValueError, match="images = 10: give a multiple of 10, 20 or more"):
            boundary.measure(path, {"plain-cpu-0": 0.24}, **asked | dict(n=10))
        patch.undo()
    assert calls == ["gauss-long-0"] and json.loads(path.read_text())["networks"][:1] == first
    return folder


def test_a_measurement_that_was_cut_off_goes_on_after_its_last_batch(measured, tmp_path, monkeypatch):
    known = page.read(measured)
    for name, value in dict(BATCH=10, SIDE=5, SHOWN=2, PLACES=np.array(known["places"]), DRAWS=known["draws"]).items():
        monkeypatch.setattr(boundary, name, value)
    one_batch, asked = boundary.one_batch, []

    def cut(*of):
        asked.append(of[-1])
        if len(asked) == 2:
            raise KeyboardInterrupt
        return one_batch(*of)

    def measure():
        return boundary.measure(tmp_path / "record.json", {"cpni-w-cpu-0": 0.24}, results=tmp_path, split="sample-test", n=20)

    monkeypatch.setattr(boundary, "one_batch", cut)
    with pytest.raises(KeyboardInterrupt):
        measure()
    parts = tmp_path / ".partial" / "boundary"
    refuses_a_damaged_part(parts, measure)
    one, before = json.loads(measure().read_text())["networks"][0], known["networks"][0]
    assert {key: one[key] for key in one if key != "seconds"} == {key: before[key] for key in before if key != "seconds"}
    assert asked == [(boundary.SEED, "boundary", batch) for batch in (0, 1, 1)] and not list(parts.iterdir())


def test_the_page_shows_what_was_measured(measured):
    record = page.read(measured)
    assert [one["label"] for one in record["networks"]] == ["CPNI-W", "Gauss"] and record["networks"][0]["tier"] == "smoke"
    grid = page.maps(measured)
    assert grid.rows == ["frog", "airplane"] and [name for name, _ in grid.columns] == ["image", *page.LOOK]
    # Under each image the colours of its maps, and no others: its own class, and then the rest.
    for k, key in enumerate(grid.keys):
        seen = {tuple(pixel) for (_, text), maps in list(grid.columns.items())[1:] for pixel in maps[k].reshape(-1, 3)} - {(255, 255, 255)}
        told = {tuple((255 * np.array(to_rgb(colour))).astype(np.uint8)) for colour in key.values()}
        assert seen <= told and next(iter(key.items())) == (grid.rows[k], page.BLUE) and len(told) == len(key)
    assert grid._repr_html_().count(f'fill="{page.BLUE}"') == len(grid.rows)
    assert grid.columns["vote", f"M = {record['draws']['slices']}"].shape == (2, 15, 15, 3)
    lines, competing, certified = page.lines(measured), page.competing(measured), page.certified(measured)
    assert (len(lines.panels), len(competing.panels), len(certified.panels)) == (4, 2, 1)
    rows = lines.numbers.frame
    assert len(rows) == 12 and (rows.loc[rows["Classifier"] == "vote of 2", "less vote of 2"] == "").all()
    one = record["networks"][0]
    changes = {(of["direction"], of["M"]): of["changes"] for of in one["lines"]}
    fewer = page.fewer_changes(record)["CPNI-W, towards the attack, one draw less vote"]
    assert fewer.points == pytest.approx(100 * np.mean(np.subtract(changes["attack", 1], changes["attack", 2])))
    assert "Tier smoke" in lines.caption and "n = 20" in lines.caption
    assert certified.numbers.frame["certified right at R > 0, %"][0] == f"{100 * np.mean(np.array(one['certified']) > 0):.1f}"


def test_marks_stand_on_the_image_and_on_the_attacked_one():
    pictures = page._coloured(np.zeros((3, 33, 33), int), {0: page.BLUE}, 3.0)
    white = (pictures[0] == 255).all(2)
    assert white[49, 49] and white[49, 49 + 16 * 3 // 3] and not white[0].any() and pictures.shape == (3, 99, 99, 3)


def test_the_plain_network_is_told_from_its_other_training(tmp_path):
    record(tmp_path, label="plain")
    assert page.read(tmp_path)["networks"][0]["label"] == "plain, normal training"


def record(folder, n=1000, label="CPNI-W", changes=(1.0, 0.9, 0.7), rose=0.05, radius=0.5, failed=500, uncertified=2):
    """One network of which all batches say nearly the same; changes: without noise, of one draw, of the vote."""
    wiggle = 0.001 * np.arange(10)
    lines = [dict(direction=direction, M=M, changes=(of + wiggle).tolist(), changed=[0, 1])
             for direction in page.DIRECTIONS for M, of in zip((0, 1, boundary.DRAWS["lines"]), changes)]
    one = dict(checkpoint="cpni-w-cpu-0", digest="a" * 16, label=label, tier="cpu", sigma=0.24, n=n, lines=lines, labels=[], slices=[],
               competing=dict(n=failed, before=[0.1], after=[0.2], rose=(rose + wiggle / 100).tolist()),
               certified=(radius * np.linspace(0.9, 1.1, 400)).tolist() + [-0.3] * uncertified)
    runs.write_json(folder / "boundary" / "record.json", dict(kind="boundary", networks=[one]) | boundary.SETTINGS)


@pytest.mark.parametrize("name, asked, verdict", [
    ("smooths_boundaries", {}, rules.HOLDS),
    ("smooths_boundaries", dict(changes=(0.7, 0.9, 0.8)), rules.PART),
    ("smooths_boundaries", dict(changes=(0.7, 0.7, 0.9)), rules.FAILS),
    ("smooths_boundaries", dict(n=500), style.NOT_YET),
    ("competing_classes", {}, rules.HOLDS),
    ("competing_classes", dict(rose=-0.05), rules.FAILS),
    ("competing_classes", dict(n=500), style.NOT_YET),
    ("competing_classes", dict(failed=16), style.NOT_YET),
    ("certified_radius", {}, rules.HOLDS),
    ("certified_radius", dict(radius=1.2), rules.FAILS),
    ("certified_radius", dict(radius=0.2), rules.FAILS),
    ("certified_radius", dict(radius=0.75), rules.OPEN),
    ("certified_radius", dict(radius=1.2, uncertified=1000), rules.OPEN),
    ("certified_radius", dict(n=500), style.NOT_YET),
])
def test_verdicts_on_boundaries(tmp_path, name, asked, verdict):
    record(tmp_path, **asked)
    number = claims.listed().set_index("decided_by").loc[name, "number"]
    found = claims.CLAIMS[name](rules.read(tmp_path)[0], number)
    assert found.verdict == verdict and found.ids == (() if verdict == style.NOT_YET else ("boundary/record.json",))
    assert number == 0.5 if name == "certified_radius" else np.isnan(number) or number is nan


def test_the_interval_of_a_median_covers_it():
    draw, hit = np.random.default_rng(0), 0
    for _ in range(400):
        one = dict(label="CPNI-W", certified=draw.exponential(size=200).tolist() + [0.0, -1.0])
        certified, of_all = page.median_radius(dict(networks=[one]))["CPNI-W"]
        hit += certified.low <= np.log(2) <= certified.high
        assert (certified.n, of_all.n) == (200, 202) and of_all.value <= certified.value
    assert hit > 0.93 * 400


def test_batches_are_a_sample_of_their_own():
    found = paired.over_batches([1.0, 2.0, 3.0], tier="cpu", n=1000, runs=1, ids=())
    assert (found.points, found.freedom) == (2, 2) and found.error == pytest.approx(1 / np.sqrt(3))
