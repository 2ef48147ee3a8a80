"""σ learnt (section 4.3): the slope is the loss's own, the descent finds the bottom, the page shows what the record holds."""

import json
from math import exp, log

import pytest
import torch
from matplotlib.figure import Figure as Canvas

from siam import claims, runs
from siam.claims import rules
from siam.noise import GaussianInput
from siam.pages import learnt as page
from siam.paths import RESULTS
from siam.studies import learnt
from test_report import digest, evaluate, train


class Model(torch.nn.Module):
    """Two classes told apart by the mean of the pixels, less `strict`, behind input noise of a learnt σ."""

    def __init__(self, sigma, scale=8.0):
        super().__init__()
        self.input_noise, self.scale = GaussianInput(sigma, learnt=True), scale

    def forward(self, x):
        margin = self.scale * self.input_noise(x).mean((1, 2, 3))
        return torch.stack([margin, -margin], 1)


def loss(model, x, y, M, log_sigma):
    with torch.no_grad():
        model.input_noise.log_sigma.fill_(log_sigma)
    torch.manual_seed(3)
    return learnt.slopes(model, x, y, M)


@pytest.mark.parametrize("M", [1, 8])
def test_the_slope_is_the_derivative_of_the_smoothed_loss(M):
    model, x, y = Model(0.5).double(), torch.rand(6, 3, 4, 4).double() - 0.5, torch.arange(6) % 2
    _, slope = loss(model, x, y, M, -0.7)
    step = 1e-4
    above, below = (loss(model, x, y, M, -0.7 + way * step)[0] for way in (1, -1))
    assert slope == pytest.approx((above - below) / (2 * step), rel=5e-3, abs=1e-5)


def test_the_smoothed_loss_is_that_of_the_mean_probability():
    logits = iter(torch.tensor([[[2.0, 0.0]], [[0.0, 1.0]], [[0.0, 0.0]]]))
    said = learnt.smoothed_loss(lambda x: next(logits), None, torch.tensor([0]), 3)
    p = [1 / (1 + exp(-2)), 1 / (1 + exp(1)), 0.5]
    assert float(said) == pytest.approx(-log(sum(p) / 3), rel=1e-5)


def test_what_a_descent_found_is_a_point_of_the_papers_grid():
    assert learnt.found([0.5] * 20 + [0.232] * 10) == 0.23


@pytest.mark.parametrize("weight, bottom", [(0.0, 0.05), (0.5, 0.05**0.5 * 0.4**0.5), (1.0, 0.4)])
def test_a_descent_ends_at_the_bottom_of_the_weighted_loss(weight, bottom, monkeypatch):
    """Clean images as if best at σ = 0.05, attacked ones at 0.4, both losses parabolas in log σ."""
    images, calls = learnt.images, []

    def slopes(model, x, y, M):
        calls.append(M)
        away = float(model.input_noise.log_sigma.detach()) - log(0.05 if len(calls) % 2 else 0.4)
        return away**2, 2 * away

    monkeypatch.setattr(learnt, "images", lambda split: images("sample-test", 10))
    monkeypatch.setattr(learnt, "pgd", lambda objective, x, **_: x)
    monkeypatch.setattr(learnt, "slopes", slopes)
    sigmas, clean, adversarial = learnt.learn("plain-cpu-0", 4, weight, batch=2)
    assert sum(sigmas[-learnt.TAIL:]) / learnt.TAIL == pytest.approx(bottom, rel=0.12) and set(calls) == {4}
    assert clean[0] == pytest.approx(log(learnt.START / 0.05) ** 2, abs=1e-4) and len(sigmas) == learnt.STEPS


def test_a_step_takes_the_losses_of_clean_and_of_attacked_images_at_their_own_labels(monkeypatch):
    """Image number i is all bytes i, of class i % 10; an attack adds 100 to each."""
    x = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 3, 2, 2)
    monkeypatch.setattr(learnt, "images", lambda split: (x, torch.arange(40) % 10))
    monkeypatch.setattr(learnt, "error_of", lambda model, y: y)
    asked, attacked = [], []
    monkeypatch.setattr(learnt, "pgd", lambda y, x, **how: attacked.append((x, y, how)) or x + 100 / 255)
    monkeypatch.setattr(learnt, "slopes", lambda model, x, y, M: asked.append((x, y)) or (len(asked), 0.0))
    _, clean, adversarial = learnt.learn("plain-cpu-0", 4, 0.5, steps=2, batch=7)
    assert (clean, adversarial) == ([1, 3], [2, 4])
    for (seen, y, how), first, second in zip(attacked, asked[::2], asked[1::2], strict=True):
        assert how == dict(epsilon=8 / 255, step_size=2 / 255, steps=7)
        assert torch.equal((255 * seen[:, 0, 0, 0]).round() % 10, y)
        assert torch.equal(first[0], seen) and torch.equal(second[0], seen + 100 / 255)
        assert torch.equal(first[1], y) and torch.equal(second[1], y)
    assert not torch.equal(attacked[0][0], attacked[1][0])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A record of one network, a few steps and a few images, made twice: the second time nothing is left to do."""
    folder = tmp_path_factory.mktemp("results")
    cells = [("cpni-w-cpu-0", 2, 1.0), ("cpni-w-cpu-0", 2, 0.25)]
    images = learnt.images
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learnt, "images", lambda split: images("sample-test", 40))
        patch.setattr("siam.evaluation.images", lambda split, n, device: images("sample-test", n, device=device))
        patch.setattr(learnt, "DRAWS", 2)
        patch.setattr(learnt, "ATTACK_STEPS", 1)
        for attempt in range(2):
            path = learnt.measure(folder / "learnt" / "record.json", cells, results=folder, n=10, steps=3, batch=20)
            patch.setattr(learnt, "learn", lambda *_: pytest.fail("it was done"))
    return path


def test_a_record_of_other_settings_is_refused_and_kept(small):
    before = small.read_bytes()
    with pytest.raises(ValueError, match="record.json: measured with different steps: move it away"):
        learnt.measure(small, [("cpni-w-cpu-0", 2, 0.5)], results=small.parents[1], n=10, steps=4, batch=20)
    assert small.read_bytes() == before and json.loads(before)["steps"] == 3


def test_the_record_names_its_evaluations(small):
    record = page.read(small.parents[1])
    assert [cell["weight"] for cell in record["cells"]] == [1.0, 0.25]
    for cell in record["cells"]:
        assert len(cell["sigmas"]) == len(cell["clean"]) == len(cell["adversarial"]) == 3 and len(cell["evaluations"]) == 2
        for id in cell["evaluations"]:
            run = runs.read(small.parents[1] / "evaluation" / f"{id}.json")["run"]
            assert run["sigma"] == cell["sigma"] and run["digest"] == cell["digest"]


def test_a_descent_whose_evaluation_is_gone_is_evaluated_and_not_learnt_again(small, monkeypatch):
    folder, before = small.parents[1], page.read(small.parents[1])["cells"]
    gone = folder / "evaluation" / f"{before[0]['evaluations'][0]}.json"
    gone.unlink()
    asked = []

    def put_back(run, **_):
        asked.append(run)
        gone.write_text("{}")

    monkeypatch.setattr(learnt, "evaluate", put_back)
    monkeypatch.setattr(learnt, "learn", lambda *_: pytest.fail("it was learnt already"))
    monkeypatch.setattr(learnt, "DRAWS", 2)
    monkeypatch.setattr(learnt, "ATTACK_STEPS", 1)
    cells = [(cell["checkpoint"], cell["M"], cell["weight"]) for cell in before]
    learnt.measure(small, cells, results=folder, n=10, steps=3, batch=20)
    assert [run.id for run in asked] == [gone.stem]
    assert sorted(page.read(folder)["cells"], key=str) == sorted(before, key=str)


@pytest.fixture
def folder(tmp_path):
    """σ learnt for CPNI-W at M = 8 with w = 1, its records, and a grid of held-out and test images."""
    train(tmp_path, "CPNI-W")
    for sigma, clean, pgd in ((0.0, 700, 400), (0.2, 680, 430), (0.24, 650, 440)):
        evaluate(tmp_path, "CPNI-W", "none", clean, sigma=sigma)
        evaluate(tmp_path, "CPNI-W", "pgd", pgd, sigma=sigma)
        if sigma != 0.2:
            evaluate(tmp_path, "CPNI-W", "pgd", round(pgd / 2), n=500, sigma=sigma, split="heldout")
    cell = dict(checkpoint="cpni-w-0", digest=digest("CPNI-W", 0), label="CPNI-W", tier="cpu", M=8, weight=1.0, sigma=0.2,
                sigmas=[0.15, 0.2], clean=[1, 1], adversarial=[2, 2], evaluations=[])
    runs.write_json(tmp_path / "learnt" / "record.json", dict(kind="learnt", cells=[cell], steps=2, start=0.12, batch=5, split="heldout"))
    return tmp_path


def test_the_page_sets_what_was_learnt_beside_the_grid(folder):
    curves, descents, table = page.curves(folder), page.descents(folder), page.comparison(folder)
    rows = curves.numbers.frame.set_index("σ")
    assert list(rows.index) == ["0", "0.2", "0.24"] and list(rows["learnt with w ="]) == ["", "1", ""]
    assert list(rows["held-out choice"]) == ["", "", "yes"]
    assert "w = 1: σ = 0.2, clean 68.3 %, PGD 43.3 %" in curves.panels[0]
    assert list(curves.legend) == ["σ swept over a grid", "σ of the grid that held-out images choose", "σ learnt, w = 1"]
    assert "from 0.12; w = 1: to 0.2" in descents.panels[0]
    (line,) = table.frame.to_dict("records")
    assert (line["σ learnt"], line["σ of the grid"]) == ("0.2", "0.24")
    assert line["Difference"].startswith("−1.0 ± ") and len(line["Records"]) == 3


def test_the_line_of_the_trade_off_is_swept_and_not_learnt(folder, monkeypatch):
    """Its points are those of the grid: what was learnt, 0.2, is a dot beside it."""
    axes = Canvas().subplots()
    monkeypatch.setattr(page, "drawing", lambda draw, *_: draw(axes) or "")
    page.curves(folder)
    line, choice, dot = axes.lines
    assert [of.get_ydata() for of in (line, choice, dot)] == [pytest.approx(of) for of in ([40.3, 44.3], [44.3], [43.3])]


def test_the_claim_is_read_off_what_was_learnt_with_a_weight_of_one(folder):
    record = page.read(folder)
    more = record["cells"][0] | dict(weight=0.5, sigma=0.24)
    runs.write_json(folder / "learnt" / "record.json", record | dict(cells=[*record["cells"], more]))
    found = claims.CLAIMS["learnt_sigma"](rules.read(folder)[0], None)
    assert found.verdict == rules.OPEN and "CPNI-W, M = 8: σ = 0.2 less 0: +3.0" in found.evidence and "0.24" not in found.evidence


def test_the_committed_record():
    record = page.read()
    there = {path.stem for path in (RESULTS / "evaluation").glob("*.json")}
    assert {cell["label"] for cell in record["cells"]} >= {"CPNI-W", "Gauss"}
    assert all(set(cell["evaluations"]) <= there and len(cell["sigmas"]) == record["steps"] for cell in record["cells"])
