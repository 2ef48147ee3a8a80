"""Attackers who know the defence: each does what its name says, the record is made once, and the page says what it says."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from conftest import refuses_a_damaged_part
from siam import attacks, bits, models, runs
from siam.data import images, pixels
from siam.evaluation import evaluate
from siam.folding import Folded, without_noise
from siam.pages import adaptive as page
from siam.pages import style
from siam.paths import CHECKPOINTS
from siam.smoothing import RULES
from siam.studies import adaptive
from test_report import train

NETWORK = "cpni-w-cpu-0"


class Passes(torch.nn.Module):
    """A network whose passes are, by turns, those of a few fixed linear ones."""

    def __init__(self, passes, classes=4, size=12):
        super().__init__()
        self.weights, self.called = torch.randn(passes, size, classes), 0

    def forward(self, x):
        self.called += 1
        return x.flatten(1) @ self.weights[(self.called - 1) % len(self.weights)]


def test_through_the_vote_is_the_gradient_of_the_smoothed_classifiers_own_loss():
    """∇(−log mean p_y), the attack of Salman et al., by autograd through the mean: a positive multiple for each image."""
    model, x, y = Passes(5), torch.rand(6, 3, 2, 2), torch.arange(6) % 4
    ours = attacks.gradient(adaptive.miss_of(model, y), x, samples=5)
    leaf = x.clone().requires_grad_()
    p = torch.stack([model(leaf).softmax(1) for _ in range(5)]).mean(0)[torch.arange(6), y]
    (theirs,) = torch.autograd.grad(-p.log().sum(), leaf)
    assert torch.allclose(ours / p.detach().view(-1, 1, 1, 1), theirs, atol=1e-6)
    mean_loss = attacks.gradient(attacks.error_of(model, y), x, samples=5)
    assert not torch.equal(mean_loss.sign(), theirs.sign())  # EPGD's is another


def test_the_lead_is_negative_where_the_class_is_right():
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 1.0, 2.0]])
    assert adaptive.lead_of(lambda x: x, torch.tensor([1, 2]))(logits).tolist() == [-1, 3]


def test_an_attacker_with_the_noise_off_sees_none_and_the_others_do(monkeypatch):
    path = CHECKPOINTS / f"{NETWORK}.safetensors"
    model, still = Folded(models.load(path, 0.24)), without_noise(models.load(path, 0.0))
    x, y = images("sample-test", 4)
    x, seen, calls = pixels(x), [], dict(model=0, still=0)
    for name, network in dict(model=model, still=still).items():
        network.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    monkeypatch.setattr(adaptive, "pgd", lambda of, x, **sizes: seen.append(sizes) or attacks.pgd(of, x, **sizes))
    for name, attacker in adaptive.ATTACKERS.items():
        if isinstance(attacker, adaptive.AutoAttack):
            continue  # below: what it does with an image depends on the image
        calls.update(model=0, still=0)
        if name == "no gradients":
            small, passes = attacker._replace(queries=2), 2 * 2 * attacker.samples
        elif isinstance(attacker, adaptive.EachClass):  # the pass that says which classes are near, their steps, and which is best
            small, passes = attacker._replace(steps=2, samples=1, judged=2), 1 + 2 * attacker.classes + 2 * attacker.classes
        else:
            small = attacker._replace(steps=2, samples=min(attacker.samples, 2))
            passes = 2 * small.samples
        moved = small(model, still, x, y)
        assert 0 < (moved - x).abs().max() <= adaptive.EPSILON + 1e-6
        assert calls == (dict(model=0, still=2) if "noise off" in name else dict(model=passes, still=0))
        # From anywhere in the ball but a corner of it the steps reach its opposite side.
        assert name == "no gradients" or attacker.steps * seen[-1]["step_size"] >= 1.7 * adaptive.EPSILON
    assert torch.equal(still(x), still(x)) and not torch.equal(model(x), model(x))


def test_each_of_the_nearest_classes_has_its_turn_and_the_best_is_kept(monkeypatch):
    """Logits that are places of the image itself: its class is at 0.5, others at less, and one that is far off is cheap to reach."""
    def model(x):
        return x[:, 0, 0, :4] * torch.tensor([1.0, 1.0, 1.0, 30.0]) - torch.tensor([0.0, 0.0, 0.0, 20.0])

    x, y, asked = torch.full((2, 3, 4, 4), 0.5), torch.tensor([0, 0]), []
    x[:, 0, 0, 1:4] = torch.tensor([[0.49, 0.2, 0.5], [0.05, 0.49, 0.67]])  # the fourth's logits: -5 and 0.1
    ahead_of = adaptive.ahead_of
    monkeypatch.setattr(adaptive, "ahead_of", lambda model, y, target: asked.append(target.tolist()) or ahead_of(model, y, target))
    found = adaptive.EachClass(2, 20, 1, 8, judged=1)(model, None, x, y)
    assert asked == [[1, 2], [2, 3]]  # of each image the nearest, then the next
    assert model(found).argmax(1).tolist() == [1, 3]
    only = adaptive.EachClass(1, 20, 1, 8, judged=1)(model, None, x, y)
    assert adaptive.lead_of(model, y)(only)[1] < adaptive.lead_of(model, y)(found)[1]


def test_the_ratio_is_the_lead_in_a_measure_of_the_logits_own():
    logits, y = torch.tensor([[1.0, 3.0, 2.0, 0.0], [5.0, 1.0, 2.0, 0.0]]), torch.tensor([1, 2])
    for scale in (1, 100):
        assert adaptive.dlr_of(lambda x: scale * x, y)(logits).tolist() == pytest.approx([-1 / 2, 3 / 4])


def test_autoattack_tries_the_second_objective_on_what_the_first_leaves(monkeypatch):
    """One image is wrong as it is, one falls to the first objective, and one to neither, of which the larger lead is kept."""
    def model(x):
        return x[:, 0, 0, :4]

    x, y, asked = torch.full((3, 3, 4, 4), 0.5), torch.tensor([0, 0, 0]), []
    x[:, 0, 0, 1:4] = torch.tensor([[0.52, 0.4, 0.1], [0.48, 0.2, 0.1], [0.1, 0.2, 0.1]])
    apgd = adaptive.apgd
    monkeypatch.setattr(adaptive, "apgd", lambda of, x, **sizes: asked.append((of(x), x, sizes)) or apgd(of, x, **sizes))
    attacker = adaptive.AutoAttack((adaptive.lead_of, adaptive.dlr_of), 10, 2, judged=3)
    found = attacker(model, None, x, y)
    (first, seen, sizes), (second, left, _) = asked
    assert torch.equal(seen, x[1:]) and torch.equal(left, x[2:]) and sizes == dict(epsilon=adaptive.EPSILON, steps=10, samples=2)
    assert first.tolist() == pytest.approx([-0.02, -0.3]) and second.tolist() == pytest.approx([-0.3 / 0.4])
    assert torch.equal(found[0], x[0]) and model(found).argmax(1).tolist() == [1, 1, 0]
    assert 0 < (found - x).abs().max() <= adaptive.EPSILON + 1e-6
    lead = adaptive.lead_of(model, y)(found)[2]
    assert lead == pytest.approx(-0.3 + 2 * adaptive.EPSILON, abs=1e-5)  # the best that the ball allows
    assert attacker.without_noise() == adaptive.AutoAttackStill(attacks.error_of, adaptive.dlr_towards, 9, 10)


def test_the_targeted_ratio_is_the_lead_of_one_class_in_a_measure_of_the_logits_own():
    logits, y, target = torch.tensor([[1.0, 3.0, 2.0, 0.0, -5.0], [5.0, 1.0, 2.0, 0.0, 4.0]]), torch.tensor([1, 2]), torch.tensor([0, 4])
    for scale in (1, 100):
        found = adaptive.dlr_towards(lambda x: scale * x, y, target)(logits)
        assert found.tolist() == pytest.approx([(1 - 3) / (3 - 0.5), (4 - 2) / (5 - 1.5)])


def test_without_noise_autoattack_has_a_turn_for_each_class(monkeypatch):
    """An image that the first attack takes has no more of them, the others meet each wrong class, the nearest first."""
    def model(x):
        return x[:, 0, 0, :5]

    x, y, asked = torch.full((2, 3, 5, 5), 0.5), torch.tensor([0, 0]), []
    x[:, 0, 0, 1:] = torch.tensor([[0.48, 0.2, 0.1, 0.0], [0.1, 0.2, 0.0, 0.15]])
    dlr_towards = adaptive.dlr_towards

    def towards(model, y, target):
        asked.append(target.tolist())
        return dlr_towards(model, y, target)

    found = adaptive.AutoAttackStill(attacks.error_of, towards, 4, 10)(model, None, x, y)
    assert asked == [[2], [4], [1], [3]]
    assert model(found).argmax(1).tolist() == [1, 0] and 0 < (found - x).abs().max() <= adaptive.EPSILON + 1e-6
    lead = adaptive.lead_of(model, y)(found)[1]
    assert lead == pytest.approx(-0.3 + 2 * adaptive.EPSILON, abs=1e-5)  # the best that the ball allows


def test_the_papers_attackers_are_those_of_the_evaluations(tmp_path, monkeypatch):
    monkeypatch.setattr(adaptive, "BATCH", 10)
    path = CHECKPOINTS / f"{NETWORK}.safetensors"
    model, still = Folded(models.load(path, 0.24)), without_noise(models.load(path, 0.0))
    for name, attack in (("PGD", "pgd"), ("EPGD", "epgd")):
        run = runs.EvaluationRun(NETWORK, runs.digest(path), attack, sigma=0.24, samples=8, draws=2, split="sample-test", images=20,
                                 batch_size=10, precision=adaptive.PRECISION)
        right = runs.right_of(evaluate(run, results=tmp_path, progress=False))
        ours, _ = adaptive.measure_one(adaptive.ATTACKERS[name], model, still, *images("sample-test", 20), M=2)
        assert np.array_equal(ours, right[list(RULES).index("prediction") * 2:][:2])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A network with noise and one without, under some attackers, in two goes: the second measures what is new."""
    folder = tmp_path_factory.mktemp("results")
    attackers = {name: adaptive.ATTACKERS[name]._replace(steps=1) for name in ("PGD", "EPGD", "noise off", "aimed at the soft vote")}
    attackers |= {"no gradients": adaptive.Blind(1, 2), "in turn": adaptive.EachClass(2, 1, 2, 8, judged=2),
                  "AutoAttack": adaptive.ATTACKERS["AutoAttack"]._replace(steps=1, samples=2, judged=4)}
    asked = dict(results=folder, split="sample-test", n=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptive, "BATCH", 10)
        patch.setitem(adaptive.SETTINGS, "batch", 10)
        plain = {"plain-adversarial-cpu-0": (0.0, 1)}
        path = adaptive.measure(folder / "adaptive" / "record.json", plain, attackers, **asked)
        first, calls, measure_one = json.loads(path.read_text())["cells"], [], adaptive.measure_one
        patch.setattr(adaptive, "measure_one", lambda *given: calls.append(given[0]) or measure_one(*given))
        adaptive.measure(path, plain | {NETWORK: (0.24, 4)}, attackers, **asked)
        assert len(calls) == 8 and json.loads(path.read_text())["cells"][:8] == first
        calls.clear()
        attackers["noise off"] = attackers["noise off"]._replace(objective=adaptive.lead_of)
        attackers.pop("aimed at the soft vote")
        adaptive.measure(path, plain | {NETWORK: (0.24, 4)}, attackers, **asked)
        cells = json.loads(path.read_text())["cells"]
        assert [attacker.objective for attacker in calls] == [adaptive.lead_of] * 2  # in the place of the old ones
        assert [cell["attacker"] for cell in cells] == ["", "PGD", "EPGD", "noise off", "no gradients", "in turn", "AutoAttack"] * 2
        assert cells[-1]["objectives"] == ["error_of", "dlr_of"]
        assert [cells[6][key] for key in ("first", "then", "classes")] == ["error_of", "dlr_towards", 9]
        assert [cell["objective"] for cell in cells if cell["attacker"] == "noise off"] == ["lead_of"] * 2
        before = path.read_bytes()
        with pytest.raises(ValueError, match="record.json: measured with different n: move it away"):
            adaptive.measure(path, plain, attackers, **asked | dict(n=30))
        assert path.read_bytes() == before
    return folder


def test_an_attack_that_was_cut_off_goes_on_after_its_last_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(adaptive, "BATCH", 10)
    attackers, one_batch, asked = {"PGD": adaptive.ATTACKERS["PGD"]._replace(steps=1)}, adaptive.one_batch, []

    def measure(folder):
        path = adaptive.measure(folder / "record.json", {NETWORK: (0.24, 4)}, attackers, results=folder, split="sample-test", n=20)
        return [{key: value for key, value in cell.items() if key != "seconds"} for cell in json.loads(path.read_text())["cells"]]

    def cut(attacker, *of):
        if attacker and asked:
            raise KeyboardInterrupt
        asked.append(attacker) if attacker else None
        return one_batch(attacker, *of)

    whole = measure(tmp_path / "whole")
    monkeypatch.setattr(adaptive, "one_batch", cut)
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path / "cut")
    parts = tmp_path / "cut" / ".partial" / "adaptive"
    refuses_a_damaged_part(parts, lambda: measure(tmp_path / "cut"))
    asked.clear()
    monkeypatch.setattr(adaptive, "one_batch", lambda attacker, *of: (asked.append(attacker), one_batch(attacker, *of))[1])
    monkeypatch.setattr(runs, "COMMIT", "another")
    attackers["EPGD"] = adaptive.ATTACKERS["EPGD"]._replace(steps=1)  # after the one that goes on, whose pieces stay known
    again = measure(tmp_path / "cut")
    kept, (begun,) = json.loads((tmp_path / "cut" / "record.json").read_text()), whole[:1]
    assert [{**cell, "commit": begun["commit"]} for cell in again[:2]] == whole and len(asked) == 3 and not list(parts.iterdir())
    assert kept["commit"] == "another" and [of["commit"] for of in kept["begun"]] == [begun["commit"]]


def test_a_network_without_noise_faces_as_many_attacks_each_from_its_own_start():
    met = adaptive.met(adaptive.ATTACKERS, noisy=False)
    assert list(met) == list(adaptive.ATTACKERS) and len(set(met.values())) == len(met)
    # What is averaged or switched off is nothing there, and 1 - p_y of one pass points where its cross-entropy does.
    assert {getattr(of, "samples", 1) for of, _ in met.values()} == {1}
    assert {(of.still, of.objective) for of, _ in met.values() if isinstance(of, adaptive.Attacker)} == {
        (False, attacks.error_of), (False, adaptive.lead_of)}
    assert adaptive.met(adaptive.ATTACKERS, noisy=True) == {name: (of, ()) for name, of in adaptive.ATTACKERS.items()}


def test_the_record_says_what_was_done(measured):
    cells = {(cell["label"], cell["attacker"]): cell for cell in page.read(measured)["cells"]}
    assert [cells["plain", name]["again"] for name in ("PGD", "EPGD")] == [[], [1]]
    assert [(cells[label, "EPGD"]["samples"], cells[label, "EPGD"]["noisy"]) for label in ("plain", "CPNI-W")] == [(1, False), (8, True)]
    assert {(cell["tier"], cell["trained"]) for cell in cells.values()} == {("smoke", "cpu")}


def test_the_page_shows_what_was_measured(measured):
    found = page.networks(page.read(measured))
    assert list(found) == ["plain, adversarial training", "CPNI-W"] and found["CPNI-W"].M == 4
    shown = page.accuracies(measured)
    assert "Networks of the tier cpu on 20 test images, which counts as tier smoke." in shown.caption and len(shown.numbers.frame) == 16
    assert list(shown.numbers.frame["Gradients per image"]) == [
        "0", "1", "1", "1", "0", "2", "≤ 20", "", "0", "1", "8", "1", "0", "4", "≤ 8", ""]
    assert list(shown.numbers.frame["Other passes"]) == ["", "", "", "", "2", "3", "31", "", "", "", "", "", "4", "6", "24", ""]


def record(folder, right):
    """right {label: {attacker: [K, n]}}, M = 1 or 2, batches of 10."""
    cells = [dict(checkpoint=f"{label}{'-adversarial' * (label == 'plain')}", label=label, attacker=name, sigma=0.24 * (len(of) - 1),
                  draws=[1, 2][: len(of)], tier="cpu", trained="long", noisy=len(of) > 1, right=bits.pack(of),
                  **(dict(steps=7, samples=8) if name else {}))
             for label, by in right.items() for name, of in by.items()]
    runs.write_json(folder / "adaptive" / "record.json",
                    dict(kind="adaptive", cells=cells, epsilon=8, batch=10, n=40, split="test"))


@pytest.fixture
def folder(tmp_path):
    """40 images. Under "noise off" other images are wrong than under EPGD."""
    first = lambda k: np.arange(40) < k  # noqa: E731
    own = {"": [first(40)] * 2, "PGD": [first(20), first(30)], "EPGD": [first(20), first(20)], "noise off": [first(24), ~first(22)]}
    plain = {"": [first(36)], "PGD": [first(16)], "EPGD": [first(16)], "noise off": [first(16)]}
    record(tmp_path, {"plain": plain, "CPNI-W": own})
    return tmp_path


def test_any_of_them_leaves_the_images_that_no_attacker_takes(folder):
    found = page.networks(page.read(folder))["CPNI-W"]
    assert [int(found.right[name][-1].sum()) for name in ("PGD", "EPGD", "noise off", page.ANY)] == [30, 20, 18, 0]
    assert page.taken(page.read(folder), found, "noise off").points == pytest.approx(5.0)
    rows = page.accuracies(folder).numbers.frame
    assert list(rows["takes beyond EPGD"].str[:5][-5:]) == ["", "−25.0", "", "+5.0 ", "+50.0"]
    assert list(rows["vote less one pass"].str[:5]) == [""] * 5 + ["+0.0 ", "+25.0", "+0.0 ", "−15.0", "−50.0"]
    assert not rows["beyond EPGD, 20 steps"].any()  # nobody measured that
    assert rows["the vote, %"].iloc[-1].startswith("0.0 (") and rows["one pass, %"].iloc[0] == ""


def test_a_lead_counts_what_another_training_would_change(folder, monkeypatch):
    monkeypatch.setattr(page, "luck", lambda frame: {
        ("cpu", "pgd", False, ""): (9.0, 1), ("long", "none", False, ""): (0.5, 4), ("long", "pgd", False, ""): (2.0, 6),
        ("long", "pgd", True, ""): (3.0, 3), ("cpu", "pgd", False, "Gauss"): (1.0, 3)})
    monkeypatch.setattr(page, "evaluations", lambda folder: None)
    about, found, known = page.read(folder), page.networks(page.read(folder)), page.luck(None)
    lead = page.lead(about, found, "CPNI-W", "PGD", known)
    assert lead.points == pytest.approx(100 * 14 / 40) and lead.luck == pytest.approx((5.0, 25 / (9 / 3 + 4 / 6)))  # a vote beside one pass
    assert page.lead(about, found, "CPNI-W", "", known).luck == (1.0, 4)
    tuned = found | {"Gauss": found["CPNI-W"]}  # what fine-tuning adds has a luck of its own, here known of attacked images alone
    assert page.lead(about, tuned, "Gauss", "PGD", known).luck == pytest.approx((6.0, 36 / (9 / 3 + 4 / 6 + 1 / 3)))
    assert page.lead(about, tuned, "Gauss", "", known).luck == (1.0, 4)
    rows = page.leads(folder).frame.set_index("Attacker")["CPNI-W, σ = 0.24"]
    assert list(rows.index) == ["no attack", "PGD", "EPGD", "noise off", page.ANY] and rows[page.ANY].startswith("−40.0 ± ")
    words = page.in_words(folder).replace("\u00a0", " ")
    assert "PGD leaves 75.0 %, EPGD 50.0 %; the strongest, *noise off*, 45.0 %, +5.0 ± " in words and "0.0 % survive all 3." in words
    assert "for its being picked from 2." in words and "+30.0 ± " in words and "beyond EPGD (CPNI-W)" in words
    assert words.endswith("without noise under none of them; and behind under none of them.")
    shown = page.lead
    monkeypatch.setattr(page, "lead", lambda *given: replace(shown(*given), error=0.01, freedom=9, luck=(0, 1)))
    assert page.in_words(folder).endswith("without noise under *PGD*, *EPGD*, *noise off*; and behind under *any of them*.")
    monkeypatch.setattr(page, "lead", shown)
    monkeypatch.setattr(page, "ONE_BY_ONE", {"EPGD": "noise off"})
    assert "- With the 56 gradients of *EPGD*, *noise off*, each along a single draw, takes more from the vote, in points: +5.0 ± " in (
        page.in_words(folder).replace("\u00a0", " "))
    line = page.headline(folder)
    assert "3 attacks, the vote is still right on 0.0 % of the images and adversarial training without noise on 40.0 %: −40.0 ± " in line
    assert "points, which is not told apart from zero (CPNI-W, σ = 0.24, M = 2; tier cpu, n = 40)" in line
    assert page.headline(folder, "Gauss") is None and page.last_lead(folder, "Gauss") is None


def test_the_first_page_has_the_vote_and_one_pass_beside_no_noise_in_a_figure(folder, tmp_path):
    figure = page.overview(folder)
    rows = figure.numbers.frame.set_index("Attack")
    assert list(rows.index) == ["no attack", "PGD", "EPGD", "best of 3 attacks"]
    for name, attacker in zip(rows.index, ("", "PGD", "EPGD", page.ANY)):
        ours, plain = (page.networks(page.read(folder))[label].right[attacker] for label in ("CPNI-W", page.PLAIN))
        assert [cell.split()[0] for cell in rows.loc[name][1:]] == [f"{100 * right.mean():.1f}" for right in (plain[-1], ours[0], ours[-1])]
    assert rows["one noisy pass of CPNI-W"].iloc[1] != rows["the vote of CPNI-W, M = 2"].iloc[1]
    assert "each of the 3 attackers" in figure.caption
    assert page.overview(tmp_path / "none").panels == [] and page.overview(folder, "Gauss").panels == []


def test_where_no_network_was_trained_twice_no_lead_is_said(folder):
    train(folder, "CPNI-W")
    (folder / "evaluation").mkdir()
    assert list(page.leads(folder).frame["CPNI-W, σ = 0.24"]) == [style.NOT_YET] * 5
    assert page.headline(folder) is None and "distinguishably" not in page.in_words(folder)


def test_while_it_is_measured_only_what_all_networks_have_is_shown(folder):
    path = folder / page.PLACE
    about = json.loads(path.read_text())
    cells = about["cells"]
    for gone, labels, attackers in ((1, [page.PLAIN, "CPNI-W"], ["PGD", "EPGD"]), (2, [page.PLAIN], ["PGD", "EPGD", "noise off"])):
        path.write_text(json.dumps(about | dict(cells=cells[:-gone])))
        found = page.networks(page.read(folder))
        assert list(found) == labels and page.single(found) == attackers
        for of in found.values():  # what one of them alone faces takes no part in what any takes of both
            assert np.array_equal(of.right[page.ANY], np.logical_and.reduce([of.right[name] for name in attackers]))
    assert page.in_words(folder) == f"{style.NOT_YET.capitalize()}."


def test_a_network_of_ones_own_takes_no_others_name(measured, tmp_path, monkeypatch):
    """Neither one of normal training that of the one that the others are held against, nor a second of a label the first's."""
    for name, value in dict(BATCH=10, SETTINGS=adaptive.SETTINGS | dict(batch=10)).items():
        monkeypatch.setattr(adaptive, name, value)
    path = tmp_path / "adaptive" / "record.json"
    path.parent.mkdir()
    path.write_bytes((measured / "adaptive" / "record.json").read_bytes())
    few = {name: adaptive.ATTACKERS[name]._replace(steps=1) for name in ("PGD", "EPGD")}
    asked = dict(attackers=few, results=tmp_path, split="sample-test", n=20)
    adaptive.measure(path, {"plain-cpu-0": (0.0, 1), "cpni-w-long-0": (0.24, 4)}, **asked)
    adaptive.measure(path, {"plain-adversarial-cpu-0": (0.0, 1)}, **asked | dict(attackers=few | {"noise off": few["PGD"]}))
    found = page.networks(page.read(tmp_path))
    assert list(found) == [page.PLAIN, "CPNI-W", "plain", "CPNI-W, cpni-w-long-0"] and "noise off" in found[page.PLAIN].right


@pytest.mark.parametrize("of", [adaptive.miss_of, adaptive.lead_of, adaptive.dlr_of, lambda *given: adaptive.ahead_of(*given, None),
                                attacks.towards])
def test_no_objective_takes_a_network_in_training_mode(of):
    with pytest.raises(ValueError, match="BatchNorm in training mode: call .eval.. first"):
        of(torch.nn.BatchNorm2d(3).train(), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("attacker, message", [
    (lambda model, still, x, y: x, "attacker <function .*> is not allowed: give a NamedTuple, as those of siam.studies.adaptive"),
    (adaptive.Attacker(lambda model, y: None, 1, 1, 4), "is not allowed: give numbers, texts and functions that have a name"),
    (adaptive.Attacker(partial(adaptive.ahead_of, target=None), 1, 1, 4), "give numbers, texts and functions that have a name"),
])
def test_an_attacker_that_no_record_could_name_is_refused_before_the_first(tmp_path, monkeypatch, attacker, message):
    monkeypatch.setattr(adaptive, "images", lambda *_: pytest.fail("it was measured"))
    with pytest.raises(ValueError, match=message) as error:
        adaptive.measure(tmp_path / "record.json", attackers={"PGD": adaptive.ATTACKERS["PGD"], "mine": attacker}, results=tmp_path)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_what_an_attacker_of_another_kind_takes_is_not_known(folder):
    path = folder / page.PLACE
    about = json.loads(path.read_text())
    for cell in about["cells"]:
        if cell["attacker"] == "noise off":
            del cell["steps"], cell["samples"]
    path.write_text(json.dumps(about))
    rows = page.accuracies(folder).numbers.frame.set_index("Attacker")["Gradients per image"]
    assert set(rows["noise off"]) == {""} and "56" in set(rows["EPGD"])
