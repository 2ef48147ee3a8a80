"""The page on using the package in one's own work says what works: its code is run as it stands, in its order, and again."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from siam import evaluation, report, runs, smoothing
from siam.attacks import pgd
from siam.explorer import explore
from siam.pages import figures, tables
from siam.paths import DATA, ROOT

PAGE = (ROOT / "book" / "own.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What stands for the root of the repository."""
    folder = tmp_path_factory.mktemp("own")
    for name, there in (("data", DATA), ("notebooks", ROOT / "notebooks")):
        (folder / name).symlink_to(there)
    return folder


@pytest.fixture(scope="module")
def twice(folder):
    """The names that the page's code leaves, run once and once more, and when its record was written."""
    each = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for _ in range(2):
            names = {}
            for block in blocks("python"):
                exec(compile(block, "book/own.md", "exec"), names)
            each.append(names | {"written": runs.record_path(names["run"], folder / "mine/results").stat().st_mtime_ns})
    return each


@pytest.fixture(scope="module")
def said(twice):
    return twice[0]


def test_the_attack_stays_within_its_budget_and_raises_its_objective(said):
    moved = (said["attacked"] - said["x"]).abs()
    assert 0.9 * 8 / 255 < moved.max() <= 8 / 255 + 1e-6 and said["lead"](said["attacked"]).mean() > said["lead"](said["x"]).mean()


def test_passes_of_ones_own_network_differ_and_are_counted(said):
    votes = said["votes"]
    assert votes.draws == (1, 2, 4, 8, 16) and (votes.ranks[-1].sum((1, 2)) == 16 * 10).all()
    assert (votes.ranks[-1, :, :, 0] > 0).sum(1).max() > 1  # two passes disagree somewhere
    assert said["winners"].shape == (5, 20)


def test_ones_own_network_gets_its_noise_at_the_input_and_is_attacked_with_it(said):
    mine, x, y = said["mine"], said["x"], said["y"]
    assert mine.input_noise.sigma == 0.24 and not any(module.training for module in mine.modules())
    kept = {name: value.clone() for name, value in mine.state_dict().items()}
    with torch.no_grad():
        assert not torch.equal(mine(x), mine(x))
    assert all(torch.equal(value, kept[name]) for name, value in mine.state_dict().items())  # BatchNorm's statistics among them
    moved = (said["strong"] - x).abs().max()
    assert 0.9 * 8 / 255 < moved <= 8 / 255 + 1e-6
    with torch.no_grad():
        assert said["error_of"](mine, y)(said["strong"]).mean() > said["error_of"](mine, y)(x).mean()


def test_of_a_network_with_dropout_only_that_is_in_training_mode(said):
    assert [type(module).__name__ for module in said["dropping"].modules() if module.training] == ["Dropout"]


def test_cells_and_networks_are_compared_image_by_image(said):
    cells = said["paired"].less(said["a"].iloc[0], said["b"].iloc[0])
    assert (cells.n, cells.tier) == (10_000, "long") and cells.each is not None and cells.low < cells.points < cells.high
    networks = said["paired"].by_image(100.0 * said["right_a"] - 100.0 * said["right_b"], said["batch"])
    assert networks.points == 5 * (int(said["right_a"].sum()) - int(said["right_b"].sum()))  # of 20 images
    assert networks.freedom == 3  # four batches


def test_the_explorer_shows_them(said):
    explorer = said["Explorer"](said["pd"].DataFrame(said["rows"]), base_model="mine", draws=16)
    (shown,) = explorer.shown().itertuples()
    assert (shown.M, shown.correct, shown.n) == (16, int(said["right"]["prediction"][-1]), 20)


def test_the_record_is_written_once_and_read_again(twice, folder):
    first, again = twice
    assert first["record"] == again["record"] and first["written"] == again["written"]
    assert first["record"]["tier"] == "smoke" and first["record"]["run"]["checkpoint"] == "my-network"
    assert sorted(path.name for path in (folder / "mine").iterdir()) == ["checkpoints", "results"]


def shell(text, folder):
    """Runs what the page tells, in `folder` for the root; what an executed notebook printed there."""
    text = text.replace(".venv/bin/papermill", f"{sys.executable} -m papermill")
    text = text.replace("SIAM_DATA=mine", f"SIAM_DATA={folder / 'mine'}")  # it begins at the root, and this is not there
    ran = subprocess.run(["bash", "-e", "-c", text], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    printed = json.loads((folder / "mine" / "evaluate.ipynb").read_text())["cells"]
    return "".join(line for cell in printed for output in cell.get("outputs", []) for line in output.get("text", []))


def test_the_commands_find_what_python_wrote_and_what_was_copied(said, folder):
    command, copies = blocks("bash")
    printed = shell(command, folder)
    assert said["run"].id in printed and "finished already" in printed
    assert "finished already" not in shell(copies + command.replace("my-network", "cpni-w-cpu-0"), folder)
    labels = report.evaluations(folder / "mine" / "results").drop_duplicates("id").set_index("checkpoint")["label"]
    assert labels.to_dict() == {"my-network": "mine", "cpni-w-cpu-0": "CPNI-W"}
    (card,) = [line for line in tables.cards(folder / "mine" / "results").splitlines() if "`my-network`" in line]
    assert "| CPNI-W, r = 5 | smoke, adversarial | 0 | – | – | not yet measured / not yet measured | – CPU |" in card
    assert "there with `-p checkpoint cpni-w-cpu-0`" in PAGE


def test_what_git_ignores():
    assert "/mine/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_curve_is_of_committed_records(said):
    there = {path.stem for path in (DATA / "results" / "evaluation").glob("*.json")}
    assert len(said["curve"]) > 3 and set().union(*said["curve"]["ids"]) <= there


@pytest.fixture(scope="module")
def own(said, tmp_path_factory):
    """Records of an attack and a voting rule added as the page says, of a network that the figures show."""
    results, attacked = tmp_path_factory.mktemp("results"), evaluation.attacked
    (results / "training").symlink_to(DATA / "results" / "training")

    def made(run, model, x, y):
        if run.attack != "lead":
            return attacked(run, model, x, y)
        return pgd(said["lead"], x, epsilon=run.epsilon / 255, step_size=run.step_size / 255, steps=run.steps, samples=run.samples)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(smoothing.RULES, "borda", said["borda"])
        patch.setattr(runs, "RULES", (*runs.RULES, "borda"))
        patch.setattr(runs, "ATTACKS", (*runs.ATTACKS, "lead"))
        patch.setattr(evaluation, "attacked", made)
        name = "cpni-w-cpu-0"
        first = runs.EvaluationRun(name, evaluation.digest_of(name), sigma=0.24, draws=8, split="sample-test", images=20)
        asked = [replace(first, attack=attack, samples=2) for attack in ("none", "pgd", "lead")]
        asked += [replace(first, epsilon=4.0, step_size=1.0)]
        for run in asked:
            evaluation.evaluate(run, results=results, progress=False)
        yield results, asked


def test_own_records_are_in_the_explorer_and_in_a_frame(own):
    results, (_, _, lead, _) = own
    assert lead.samples == 2
    shown = explore(results, rule="borda", attacks=["pgd", "lead"]).shown()
    assert set(shown["attack"]) == {"pgd", "lead"} and set(shown["M"]) == {8} and set(shown[shown["attack"] == "lead"]["id"]) == {lead.id}
    frame = report.select(report.with_own(report.evaluations(results)), label="CPNI-W", rule="borda", M=8, attack="lead", epsilon=8)
    assert report.cells(frame)["ids"].tolist() == [(lead.id,)]


def test_own_records_break_no_figure_and_are_in_none(own):
    results, (none, strong, lead, weak) = own
    shown = [draw(results) for draw in (figures.figure1, figures.figure2, figures.figure3, figures.figure4, figures.effort)]
    shown += [tables.table(number, results) for number in tables.TABLES]
    shown = [part._repr_html_() for part in shown]
    assert all(run.id in shown[0] for run in (none, strong)) and all(run.id in shown[3] for run in (weak, strong))
    assert not any(word in text for text in shown for word in ("borda", lead.id))
