"""The page on using the package in one's own work says what works: its code is run as it stands, in its order."""

import re

import pytest

from siam import runs
from siam.paths import DATA, ROOT


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """The names that the page's code leaves."""
    page = (ROOT / "book" / "own.md").read_text(encoding="utf-8")
    blocks, names = re.findall(r"```python\n(.*?)```", page, re.DOTALL), {}
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("own")
        (folder / "data").symlink_to(DATA)
        patch.chdir(folder)
        for block in blocks:
            exec(compile(block, "book/own.md", "exec"), names)
        names["written"] = runs.read(runs.record_path(names["run"], folder / "mine"))
    return names


def test_the_attack_stays_within_its_budget_and_raises_its_objective(said):
    moved = (said["attacked"] - said["x"]).abs()
    assert 0.9 * 8 / 255 < moved.max() <= 8 / 255 + 1e-6 and said["lead"](said["attacked"]).mean() > said["lead"](said["x"]).mean()


def test_passes_of_ones_own_network_differ_and_are_counted(said):
    votes = said["votes"]
    assert votes.draws == (1, 2, 4, 8, 16) and (votes.ranks[-1].sum((1, 2)) == 16 * 10).all()
    assert (votes.ranks[-1, :, :, 0] > 0).sum(1).max() > 1  # two passes disagree somewhere
    assert said["winners"].shape == (5, 20)


def test_the_explorer_shows_them(said):
    explorer = said["Explorer"](said["pd"].DataFrame(said["rows"]), base_model="mine", draws=16)
    (shown,) = explorer.shown().itertuples()
    assert (shown.M, shown.correct, shown.n) == (16, int(said["right"]["prediction"][-1]), 20)


def test_the_record_is_written_and_says_what_it_is_of(said):
    assert said["written"]["result"] == said["record"]["result"] and said["record"]["tier"] == "smoke"
    assert said["record"]["run"]["checkpoint"] == "my-network"


def test_the_curve_is_of_committed_records(said):
    there = {path.stem for path in (DATA / "results" / "evaluation").glob("*.json")}
    assert len(said["curve"]) > 3 and set().union(*said["curve"]["ids"]) <= there
