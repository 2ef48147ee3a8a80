"""Section 4.1: which inequality holds for every tally, the vote of finitely many passes, and the record of counted votes."""

import json
import shutil
from itertools import product

import numpy as np
import pytest
import torch
from conftest import say_nothing_is_measured
from hypothesis import given, settings
from hypothesis import strategies as st

from siam import models, paths, runs, votes
from siam.data import images
from siam.folding import Folded
from siam.pages import bound as page
from siam.pages import style, ties
from siam.paired import interval_of
from siam.studies import bound


@pytest.fixture
def tallies():
    """Votes [N, 10] of very different images, ties and unanimous ones among them, and labels [N]."""
    rng = np.random.default_rng(0)
    shapes = rng.choice([0.05, 0.3, 3.0], 3000)
    votes = np.array([rng.multinomial(64, rng.dirichlet([shape] * 10)) for shape in shapes])
    return votes, rng.integers(0, 10, len(votes))


def test_shares_are_counted_as_one_would_by_hand(tallies):
    votes, labels = tallies
    p, q = page.shares(votes, labels)
    for row, label, mine, other in list(zip(votes, labels, p, q))[:200]:
        rest = [count for number, count in enumerate(row) if number != label]
        assert mine == row[label] / 64 and other == max(rest) / 64


def test_what_can_be_proved_holds_and_what_is_printed_fails_where_it_must(tallies):
    votes, labels = tallies
    p, q = page.shares(votes, labels)
    frame, failures = page.losses(p, q), page.broken(page.losses(p, q))
    assert [name for name, (_, _, always) in page.CLAIMS.items() if always and failures[name]] == []
    wrong = p < q
    assert failures["wrong ≤ base"] == (wrong & (p > 0)).sum() > 100
    assert failures["surrogate ≤ base"] == (np.minimum(p, q) > 0).sum() > 100
    assert frame["surrogate"].to_numpy() == pytest.approx(1 - p + np.minimum(p, q))
    equal = np.isclose(frame["wrong"], frame["surrogate"])
    assert (equal == (wrong | np.isclose(p - q, 1))).all()
    # Eq. (19): its last form, a maximum over all classes, is the ReLU.
    assert np.maximum(p, q) - q == pytest.approx(np.maximum(p - q, 0))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 10).flatmap(lambda c: st.lists(st.integers(0, 9), min_size=c, max_size=c)))
def test_the_chain_holds_for_any_votes(counts):
    votes = np.array([counts]) + (np.arange(len(counts)) == 0) * (sum(counts) == 0)
    frame = page.losses(*page.shares(votes, [0]))
    assert not any(page.broken(frame)[name] for name, (_, _, always) in page.CLAIMS.items() if always)


def test_the_factor_of_two_is_reached():
    frame = page.losses(np.array([0.4999]), np.array([0.5001]))
    assert frame["wrong"][0] / frame["base"][0] == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("M", [1, 2, 3, 5])
def test_a_vote_of_few_passes_keeps_the_bound(M):
    """All 3^M outcomes of M passes: a vote is wrong with a chance of at most 2 (1 - p), ties counted as wrong."""
    rng = np.random.default_rng(M)
    for chances in rng.dirichlet([0.7] * 3, 30):
        wrong = 0
        for passes in product(range(3), repeat=M):
            votes = np.bincount(passes, minlength=3)
            wrong += np.prod(chances[list(passes)]) * (votes[0] <= votes[1:].max())
        assert wrong <= 2 * (1 - chances[0]) + 1e-12


# --- the committed record ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def record():
    return votes.load(bound.RECORD)


def test_the_record_is_whole(record):
    counts, labels, about = record
    assert set(counts) == set(bound.CELLS) and bound.RECORD.stat().st_size < 200_000
    assert np.bincount(labels).tolist() == [about["images"] // 10] * 10
    for counted in counts.values():
        assert counted.dtype == np.uint8 and counted.shape == (2, about["images"], 10)
        assert (counted.sum(2, dtype=int) == about["draws"] // 2).all()
    for cell in about["cells"]:
        assert cell["tier"] == "cpu" and (cell["epsilon"], cell["steps"]) == ((8, 7) if cell["cell"][1] == "pgd" else (0, 0))
        assert cell["digest"] == models.about(paths.CHECKPOINTS / f"{cell['cell'][0]}.safetensors")["digest"]
        assert cell["commit"]


def test_the_votes_are_as_accurate_as_the_books_evaluations(record):
    """Other draws of the same networks on some of the same images: within sampling error of them."""
    counts, labels, _ = record
    compared = 0
    for evaluation in map(runs.read, sorted((paths.RESULTS / "evaluation").glob("*.json"))):
        run = evaluation["run"]
        cell = run["checkpoint"], run["attack"], run["sigma"]
        usual = run["split"] == "test" and run["draws"] == 64 and run["source"] is None
        usual = usual and run["epsilon"] in (0, 8) and run["steps"] in (0, 7)
        if cell in counts and usual:
            (row,) = [row for row in evaluation["result"] if row["rule"] == "prediction" and row["M"] == 64]
            right = (counts[cell][0].argmax(1) == labels).mean()
            assert abs(right - row["accuracy"]) < 4 * (0.25 / len(labels)) ** 0.5
            compared += 1
    assert compared


def test_a_few_images_counted_again_agree(record):
    counts, labels, about = record
    cell = ("cpni-w-long-0", "none", 0.24)
    path = paths.CHECKPOINTS / f"{cell[0]}.safetensors"
    n, draws = 24, 32
    run = bound.asked(cell[0], runs.digest(path), *cell[1:], split="sample-test", images=n, draws=draws)
    x, y = images("sample-test", n)
    assert (y.numpy() == labels[:n]).all()
    votes = bound.count(run, Folded(models.load(path, 0.24)), x, y)
    assert votes.shape == (2, n, 10) and (votes.sum(2) == draws // 2).all()
    before, after = (page.shares(of.sum(0, dtype=int), labels[:n])[0] for of in (counts[cell][:, :n], votes))
    pooled = (before * about["draws"] + after * draws) / (about["draws"] + draws)
    error = np.sqrt(pooled * (1 - pooled) * (1 / about["draws"] + 1 / draws))
    assert (abs(before - after) <= 4.5 * error + 1e-9).all()


def test_measuring_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(bound, "asked", lambda *cell, **fields: runs.EvaluationRun(
        *cell[:2], attack=cell[2], sigma=cell[3], split="sample-test", images=10, draws=fields.get("draws", 4)))
    path = tmp_path / "tallies.npz"
    cells = [("cpni-w-cpu-0", "none", 0.12), ("cpni-w-cpu-0", "none", 0.24)]
    bound.measure(path, cells[:1])
    first = votes.load(path)
    bound.measure(path, cells)
    counts, labels, about = votes.load(path)
    assert list(counts) == cells and about["draws"] == 4 and about["commit"]
    assert (counts[cells[0]] == first[0][cells[0]]).all() and about["cells"][0] == first[2]["cells"][0]
    assert about["cells"][0]["tier"] == "smoke"
    monkeypatch.setattr(bound, "count", lambda *_: pytest.fail("it was done"))
    bound.measure(path, cells)
    with pytest.raises(ValueError, match="tallies.npz: measured with different epsilon, steps, step_size: move it away"):
        monkeypatch.setattr(bound, "asked", lambda *cell, **fields: runs.EvaluationRun(
            *cell[:2], attack="pgd", sigma=cell[3], epsilon=4, split="sample-test", images=10, draws=4))
        bound.measure(path, cells)
    monkeypatch.setattr(bound, "asked", lambda *cell, **fields: runs.EvaluationRun(
        *cell[:2], attack=cell[2], sigma=cell[3], split="sample-test", images=10, draws=8))
    with pytest.raises(ValueError, match="tallies.npz: measured with different draws: move it away"):
        bound.measure(path, [("cpni-w-cpu-0", "none", 0.48)], draws=8)


def test_votes_of_a_network_that_was_replaced_are_counted_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(bound, "asked", lambda *cell, **_: runs.EvaluationRun(
        *cell[:2], attack=cell[2], sigma=cell[3], split="sample-test", images=10, draws=4))
    path, cells = tmp_path / "tallies.npz", [("x", "none", 0.12), ("plain-cpu-0", "none", 0.12)]
    shutil.copy(paths.CHECKPOINTS / "plain-cpu-0.safetensors", tmp_path)
    for name in ("cpni-w-cpu-0", "pni-w-cpu-0"):
        shutil.copy(paths.CHECKPOINTS / f"{name}.safetensors", tmp_path / "x.safetensors")
        bound.measure(path, cells, tmp_path)
        digests = [one["digest"] for one in votes.load(path)[2]["cells"]]
        assert sorted(digests) == sorted(runs.digest(tmp_path / f"{one}.safetensors") for one in ("x", "plain-cpu-0"))


def test_a_file_that_is_no_record_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    whole = bound.RECORD.read_bytes()
    np.savez(tmp_path / "foreign.npz", labels=[1], about=json.dumps({"a": 1}))
    for content in (b"", b"nothing", whole[: len(whole) // 2], (tmp_path / "foreign.npz").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="x.npz: not a record of votes"):
            votes.load(path)
    refused = 0
    for place in range(0, len(whole), len(whole) // 50):  # one byte is wrong: what the sums betray, or the compression
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            votes.load(path)
        except ValueError as error:
            assert "x.npz: not a record of votes" in str(error)
            refused += 1
    assert refused >= 48
    last = whole.rindex(b"PK\1\2")  # in the zip's list of its files: what is needed to read one, its flags, how it is compressed
    for place in (last + 6, last + 8, last + 10):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="x.npz: not a record of votes"):
            votes.load(path)
    about = dict(draws=4, cells=[dict(cell=["a", "none", 0.1])])
    votes.save(path, {"a none 0.1": np.ones((2, 3, 10), np.uint8)}, np.zeros(3, np.uint8), about)
    with pytest.raises(ValueError, match="does not fit its draws"):
        votes.load(path)


def test_pages_of_nothing_say_so(tmp_path):
    pages = (page.probabilities, page.ordered, page.sides, page.violations, page.halves, page.in_words, ties.table, ties.in_words)
    assert say_nothing_is_measured(pages, tmp_path)


def test_figures_are_described_and_the_same_every_time(record):
    for draw in (page.probabilities, page.ordered, page.sides):
        figure = draw()
        html = figure._repr_html_()
        assert html == draw()._repr_html_() and style.INK not in html and "Tier cpu" in html
        assert html.count('role="img" aria-label="') == len(figure.panels)


def test_the_table_counts_what_the_losses_say(record):
    frame = page.violations().frame
    assert len(frame) == len(bound.CELLS)
    for name, (_, _, always) in page.CLAIMS.items():
        assert not always or set(frame[name]) == {"0"}
    assert json.dumps(record[2])  # plain numbers and text


def test_a_tie_is_held_against_what_the_lot_would_have_given():
    votes = np.array([[3, 3, 2, 0], [3, 3, 2, 0], [2, 2, 2, 2], [5, 3, 0, 0], [3, 0, 3, 2]])
    several, gain = ties.tied(votes, np.array([0, 1, 3, 0, 3]))
    assert several.tolist() == [True, True, True, False, True]
    assert gain.tolist() == [0.5, -0.5, -0.25, 0.0, 0.0]


def test_two_votes_that_draw_lots_are_right_as_often_as_one_pass():
    """So at M = 2 prediction smoothing gains or loses through the tie rule and the luck of the draws alone."""
    counts = np.array([[60, 40, 28, 0], [128, 0, 0, 0], [10, 59, 59, 0]])
    series = ties.redrawn(counts, 2).reshape(ties.REDRAWN, 3, 4)
    assert (series.sum(2) == 2).all() and (series <= counts).all()
    labels = np.array([0, 0, 2])
    votes, told = series.reshape(-1, 4), np.tile(labels, ties.REDRAWN)
    _, gain = ties.tied(votes, told)
    by_lot = (votes.argmax(1) == told) - gain
    assert by_lot == pytest.approx(votes[np.arange(len(votes)), told] / 2)


def test_the_batches_are_the_sample(record):
    counts, labels, about = record
    frame = page.losses(*page.shares(counts[("cpni-w-long-0", "pgd", 0.24)].sum(0, dtype=int), labels))
    gain = (frame["base"] - frame["wrong"]).to_numpy()
    mean, low, high = page.interval_of(gain, about)
    batches = gain.reshape(-1, about["batch_size"]).mean(1)
    assert [mean, low, high] == pytest.approx(interval_of(batches, 1))
    assert low < interval_of(gain, 1)[1] and high > interval_of(gain, 1)[2], "images alone would seem surer"
    assert "in 12 of 12 cells" in page.in_words() and f"over {len(batches)} batches" in page.sides().caption


def test_the_two_halves_are_of_different_passes():
    passes = iter([3, 3, 5, 5])
    run = bound.asked("a", "0" * 16, "none", 0.1, split="sample-test", images=10, draws=4)

    def says(x):
        return torch.nn.functional.one_hot(torch.full((len(x),), next(passes)), 10).float()

    said = bound.count(run, says, *images("sample-test", 10))
    assert (said[0, :, 3] == 2).all() and (said[1, :, 5] == 2).all()
