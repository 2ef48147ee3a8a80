"""BatchNorm's statistics: the batch's own are those of training, a draw's are those of its guests, those counted are means; the page."""

import json

import numpy as np
import pytest
import torch
from conftest import refuses_a_damaged_part
from torch import nn

from siam import models, runs
from siam.data import pixels
from siam.noise import strengthen
from siam.pages import batchnorm as page
from siam.pages import style
from siam.paths import CHECKPOINTS, RESULTS
from siam.studies import batchnorm

CELLS = (("cpni-w-cpu-0", 1, 0.24), ("cpni-w-cpu-0", 2, 0.0))


@pytest.fixture
def noisy():
    """A network with noise whose BatchNorm has seen other numbers than it will be given."""
    model = models.classifier("CPNI-W", sigma=0.1)
    for norm in batchnorm.norms(model):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 1, 3)
    return model.eval()


def answer(model, x):
    torch.manual_seed(1)
    with torch.no_grad():
        return model(x)


def test_by_batch_answers_as_training_does_and_keeps_nothing(noisy):
    x = torch.rand(20, 3, 32, 32)
    running = answer(noisy, x)
    trained = models.classifier("CPNI-W", sigma=0.1)
    trained.load_state_dict(noisy.state_dict())
    wanted = answer(trained.train(), x)
    batchnorm.by_batch(noisy)
    assert torch.equal(answer(noisy, x), wanted) and not torch.allclose(wanted, running)
    answer(noisy, 0.1 * x)
    assert torch.equal(answer(noisy, x), wanted) and not noisy.training


def test_counted_ones_are_the_mean_over_batches_each_with_a_draw(noisy, monkeypatch):
    """Of the first layer, whose inputs are known: the images, noise and all."""
    monkeypatch.setattr(batchnorm, "BATCH", 10)
    seen, means, variances = torch.rand(30, 3, 32, 32), [], []

    def count(_, __, out):
        means.append(out.mean((0, 2, 3)))
        variances.append(out.var((0, 2, 3)))

    noisy.network.conv.register_forward_hook(count)
    model = batchnorm.by_count(noisy, seen, 5)
    norm = model.network.norm
    assert len(means) == 3 and not torch.allclose(means[0], means[1], atol=1e-3) and not norm.training
    assert torch.allclose(norm.running_mean, torch.stack(means).mean(0), atol=1e-4)
    assert torch.allclose(norm.running_var, torch.stack(variances).mean(0), rtol=1e-4)


def test_counted_on_what_a_network_without_noise_is_given_they_are_its_own(monkeypatch):
    """One batch counted, the same batch asked: both kinds of statistics agree but for n against n − 1."""
    monkeypatch.setattr(batchnorm, "BATCH", 50)
    seen, model = torch.rand(50, 3, 32, 32), models.classifier("plain").eval()
    again = answer(batchnorm.by_count(model, seen, 0), seen)
    assert torch.allclose(again, answer(batchnorm.by_batch(model), seen), atol=5e-3)


def test_by_draw_an_image_is_answered_by_itself_and_by_the_guests_statistics(noisy):
    noisy.input_noise.fixed = 0.0  # drawn for all images at once, its numbers would differ with theirs
    guests, x, twin = torch.rand(20, 3, 32, 32), torch.rand(6, 3, 32, 32), models.classifier("CPNI-W").eval()
    twin.load_state_dict(noisy.state_dict())
    by_draw = batchnorm.by_draw(noisy, guests)
    assert torch.allclose(answer(by_draw, guests), answer(batchnorm.by_batch(twin), guests), atol=0.01)
    said, leaf = answer(by_draw, x), x.clone().requires_grad_()
    assert torch.allclose(answer(by_draw, x[:2]), said[:2], atol=1e-3) and not torch.allclose(answer(by_draw, 1 - x), said, atol=0.05)
    by_draw(leaf)[0].sum().backward()
    assert leaf.grad[0].abs().sum() > 0 == leaf.grad[1:].abs().sum()  # no way to an image through another's


def test_what_is_counted_is_cropped_and_half_of_it_attacked(monkeypatch):
    counted, images = [], (torch.rand(8, 3, 32, 32) * 255).byte().clamp_min(60)
    monkeypatch.setattr(batchnorm, "by_count", lambda model, x, *_: counted.append(x))
    monkeypatch.setattr(batchnorm, "by_draw", lambda model, guests: counted.append(guests))
    found = batchnorm.networks("cpni-w-cpu-0", 1, 0.0, (images, torch.arange(8)))
    cropped, whole, guests = counted
    assert tuple(found) == batchnorm.STATISTICS and torch.equal(guests, cropped)
    assert torch.equal(whole[1::2], pixels(images)[1::2])
    moved = (whole - pixels(images))[::2].abs().flatten(1).amax(1)
    assert (moved > 0).all() and (moved <= 8 / 255 + 1e-6).all()
    # Black borders come from cropping alone, as no image is as dark.
    assert (cropped[1::2] == 0).any() and not (whole < 0.2).any() and ((cropped[::2] < 0.1) & (cropped[::2] > 0)).any()


def test_a_job_judges_clean_images_and_attacked_ones(monkeypatch):
    """By a network that is right about grey images until an attack makes them darker or, of the other class, lighter."""
    monkeypatch.setattr(batchnorm, "PRECISION", "fp32")

    def brightness(x):
        lighter = 100 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([0 * lighter, lighter], 1)

    y = torch.arange(6) % 2
    x = torch.full((6, 3, 8, 8), 0.5) + batchnorm.EPSILON / 2 * (2.0 * y - 1).view(6, 1, 1, 1)
    right = batchnorm.job(brightness, x, y, 0)
    assert right["none"].all() and not right["pgd"].any() and right["pgd"].shape == (len(batchnorm.DRAWS), 6)
    assert not batchnorm.job(brightness, x, 1 - y, 0)["none"].any()


@pytest.mark.parametrize("variant", ["PNI-W", "CPNI-W"])
def test_stronger_noise_is_the_same_noise(variant):
    model = models.classifier(variant)
    layers = [layer for layer in model.modules() if hasattr(getattr(layer, "weight_noise", None), "factors")]

    def draws():
        torch.manual_seed(2)
        return [(layer.weight_noise(layer.weight) - layer.weight).detach() for layer in layers]

    before = draws()
    strengthen(model, 3)
    assert len(layers) > 15
    for old, new in zip(before, draws()):
        assert torch.allclose(new, 3 * old, rtol=1e-3, atol=1e-5)


def test_differences_are_from_the_running_statistics_and_over_batches(monkeypatch):
    monkeypatch.setattr(batchnorm, "BATCH", 10)
    running, batch = np.zeros((2, 40), bool), np.zeros((2, 40), bool)
    running[:, ::2] = True
    batch[0, ::2] = batch[0, 1:20:2] = True  # every other image of the first half besides
    found = {"running": {"none": running, "pgd": running}, "batch": {"none": batch, "pgd": running}}
    rows = {(row["statistics"], row["attack"], row["M"]): row for row in batchnorm.rows(found)}
    one = rows["batch", "none", 1]
    assert one["accuracy"]["mean"] == 75 and one["more"]["mean"] == 25 and one["n"] == 40
    half = 3.182446 * np.std([50, 50, 0, 0], ddof=1) / 2  # Student's t of three degrees of freedom
    assert [one["more"][end] for end in ("low", "high")] == pytest.approx([25 - half, 25 + half], abs=0.01)
    assert rows["batch", "pgd", 1]["more"] == dict(mean=0, low=0, high=0) and rows["batch", "none", 16]["more"]["mean"] == -50
    assert "more" not in rows["running", "none", 1]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with the record of two cells and forty images, cut off once and made by two commits."""
    folder = tmp_path_factory.mktemp("results")
    counted = torch.zeros(40, 3, 32, 32).byte(), torch.arange(40) % 10
    with pytest.MonkeyPatch.context() as patch:
        for name, value in dict(CELLS=CELLS, NETWORKS=("cpni-w-cpu-0",), BATCH=20, STEPS=1, DRAWS=(1, 2)).items():
            patch.setattr(batchnorm, name, value)
        asked = dict(path=folder / "batchnorm" / "record.json", n=40, results=folder, counted=counted, progress=False)
        job, jobs = batchnorm.job, []

        def cut(model, x, y, batch):
            jobs.append(batch)
            if len(jobs) == 4:
                patch.setattr(runs, "COMMIT", "another")
                raise KeyboardInterrupt
            return job(model, x, y, batch)

        patch.setattr(batchnorm, "job", cut)
        with pytest.raises(KeyboardInterrupt):
            batchnorm.measure(**asked)
        refuses_a_damaged_part(folder / ".partial" / "batchnorm", lambda: batchnorm.measure(**asked))
        record = batchnorm.measure(**asked)
        assert jobs == [0, 1, 0, 1, 1] + [0, 1] * 8
        assert record["commit"] == "another" and [part["commit"] for part in record["begun"]] != ["another"]
        assert not list((folder / ".partial" / "batchnorm").iterdir())  # to measure again is to measure
        with pytest.raises(FileExistsError, match="record.json is there: move it away to measure again"):
            batchnorm.measure(**asked)
    return folder


def test_the_record_has_every_cell(small):
    record = page.read(small)
    asked = [(row["strength"], row["sigma"], row["attack"], row["M"], row["statistics"]) for row in record["rows"]]
    assert len(set(asked)) == len(asked) == 2 * 5 * 2 * 2
    assert {(strength, sigma) for strength, sigma, *_ in asked} == {(1, 0.24), (2, 0.0)}
    accuracies = {key: row["accuracy"]["mean"] for key, row in zip(asked, record["rows"])}
    # Black images were counted: statistics with hardly a variance, by which the network cannot see.
    assert accuracies[1, 0.24, "none", 1, "running"] >= 30 > accuracies[1, 0.24, "none", 1, "whole"]
    assert record["networks"][0]["digest"] == models.about(CHECKPOINTS / "cpni-w-cpu-0.safetensors")["digest"]


def test_the_page_shows_every_cell(small):
    one, two = page.changes(1, small), page.changes(2, small)
    assert len(one.panels) == 2 and "one pass" in one.caption and "2 votes" in two.caption
    assert list(one.numbers.frame["Attack"]) == ["Clean", "PGD"] * 2 and set(one.numbers.frame["Noise"]) == {"× 1", "× 2"}
    assert "CPNI-W, cpu, noise × 2: counted again " in one.panels[0] and "CPNI-W, cpu, σ = 0.24: counted again " in one.panels[1]
    record = page.read(small)
    row = next(row for row in record["rows"] if (row["strength"], row["statistics"], row["attack"], row["M"]) == (2, "batch", "pgd", 2))
    (said,) = two.numbers.frame.query("Noise == '× 2' and Attack == 'PGD'")["The batch's own less running"]
    (running,) = two.numbers.frame.query("Noise == '× 2' and Attack == 'PGD'")["Running"]
    of = next(one for one in record["rows"] if (one["strength"], one["statistics"], one["attack"], one["M"]) == (2, "running", "pgd", 2))
    mean, low, high = (f"{of['accuracy'][name]:.1f}" for name in ("mean", "low", "high"))
    assert running.startswith(f"{mean} (") and running.endswith(f"{high})".replace("-", "−")) and low.replace("-", "−") in running
    assert said == style.change(row["more"], 1) and said.startswith(f"{row['more']['mean']:+.1f} (".replace("-", "−"))
    assert one._repr_html_() == page.changes(1, small)._repr_html_()


def test_the_committed_record():
    record = page.read()
    assert record["n"] >= 1000 and record["tier"] == "cpu" and record["settings"] == json.loads(json.dumps(batchnorm.SETTINGS))
    there = {models.about(path)["digest"] for path in CHECKPOINTS.glob("*.safetensors")}
    assert {of["digest"] for of in record["networks"]} <= there
    cells = {(row["checkpoint"], row["strength"], row["sigma"]) for row in record["rows"]}
    assert cells == set(batchnorm.CELLS) and (RESULTS / page.PLACE).stat().st_size < 100_000
