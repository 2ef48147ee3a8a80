"""A GPU campaign as it grows, on synthetic counts: whatever is measured so far, every page can be drawn, and none goes back.

The steps are those of workflow/campaign.yaml, those of tier fast before those of tier paper; grids, votes and repeated trainings are
thinned out. Before them there is what small computers leave: grids of five σ at tiers cpu and long, and a map of transfers.
"""

import re
from dataclasses import asdict
from hashlib import sha256

import pytest

from siam import campaign, evaluation, report, runs, training
from siam.pages import figures, findings, tables, words_of_figures, words_of_tables

BASES = ("cpni-w", "gauss", "epgd-diverged", "epgd-converged")
FEW, GRID = (0, 0.02, 0.18, 0.19, 0.22, 0.24, 0.37), (0, 0.12, 0.24, 0.36)
LEVEL = {"none": 0.75, "pgd": 0.42, "epgd": 0.36, "pgd-sum": 0.46, "epgd-sum": 0.42}
# Of input noise: under EPGD it adds more than under PGD, none of a gain is gone.
SLOPE = {"none": -0.1, "pgd": 0.1, "epgd": 0.2, "pgd-sum": 0.1, "epgd-sum": 0.2}


def digest(name):
    return sha256(name.encode()).hexdigest()[:16]


def train(folder, variant, tier, method="adversarial", seeds=(0,), start=None, sigma=0, rank=5):
    for seed in seeds:
        plan = asdict(training.schedule(tier, method, variant))
        run = runs.TrainingRun(variant, method, plan, rank, start and digest(start), sigma, seed)
        kept = [dict(name=name, label=label, digest=digest(name), epoch=1, heldout=dict(n=1000, clean=700, adversarial=400))
                for name, label in training.checkpoints_of(run).values()]
        runs.write(runs.record(run, tier=tier, checkpoints=kept, history=[], seconds=60.0), folder)


def evaluate(folder, tier, **asked):
    """Records of an accuracy that input noise and votes change a little, and the training more."""
    asked = campaign.defaults("evaluate") | dict(split="test", images=1000) | asked | dict(device="cpu")
    for run in evaluation.requested(**asked, checkpoints=folder, results=folder):
        level = LEVEL[run.attack] + int(run.digest, 16) % 5 / 50 + SLOPE[run.attack] * run.sigma - run.epsilon / 1000
        shown = [("prediction", 1), ("prediction", 8), ("soft", 8), ("weighted", 8), ("prediction", 64)]
        result = [runs.row(rule, M, int(run.images * (level + 0.0001 * M)), run.images) for rule, M in shown if M <= run.draws]
        if not runs.finished(run, folder):  # two steps may ask for the same
            runs.write(runs.record(run, tier=tier, n=run.images, result=result), folder)


def before(folder):
    for tier in ("cpu", "long"):
        train(folder, "CPNI-W", tier)
        train(folder, "CPNI-W", tier, "gauss", start=f"cpni-w-{tier}-0", sigma=0.24)
        train(folder, "CPNI-W", tier, "epgd", start=f"cpni-w-{tier}-0")
    for base in BASES:
        evaluate(folder, "long", checkpoint=f"{base}-long-0", sigmas=GRID, images=10_000)
        evaluate(folder, "cpu", checkpoint=f"{base}-cpu-0", sigmas=[0.02], attacks=["pgd"], sources=[f"{other}-cpu-0" for other in BASES])
    evaluate(folder, "cpu", checkpoint="cpni-w-cpu-0", sigmas=[0, 0.24], attacks=["pgd"], epsilons=[1, 4, 8, 16])


def carry_out(step, folder):
    asked = {name: value for name, value in step.parameters.items() if name != "device"}
    if step.notebook == "train":
        train(folder, **asked | {"seeds": [seed for seed in asked.get("seeds", [0]) if seed < 2]})
    elif re.search("-[01]$", asked["checkpoint"]):
        sigmas = [sigma for sigma in asked.get("sigmas", [0, 0.24]) if sigma in (FEW if step.name[:4] != "grid" else GRID)]
        evaluate(folder, step.tier, **asked | {"sigmas": sigmas, "seeds": [0]})


# The last step that is done, and the tiers that Figures 1 to 4 and the map of transfers then show.
STAGES = [
    ("train-CPNI-W-fast-0", ["long", "long", "long", "cpu", "cpu"]),
    ("m1024-epgd-diverged-fast", ["long", "long", "long", "cpu", "cpu"]),
    ("transfer-cpni-w-fast", ["long", "long", "long", "fast", "cpu"]),
    ("grid-cpni-w-fast", ["fast", "long", "long", "fast", "fast"]),
    ("m1024-epgd-diverged-paper", ["fast", "fast", "fast", "fast", "fast"]),
    ("transfer-cpni-w-paper", ["fast", "fast", "fast", "paper", "fast"]),
    ("grid-cpni-w-paper", ["paper", "fast", "fast", "paper", "paper"]),
    ("grid-epgd-converged-paper", ["paper", "paper", "paper", "paper", "paper"]),
]


@pytest.fixture
def grown(request, tmp_path, monkeypatch):
    """A folder of records, its evaluations, and the tiers that are to be shown of it. It is read once, for all pages."""
    last, tiers = request.param
    before(tmp_path)
    steps = [step for tier in ("fast", "paper") for step in campaign.read() if step.tier == tier]
    for step in steps[: [step.name for step in steps].index(last) + 1]:
        carry_out(step, tmp_path)
    frame = report.evaluations(tmp_path)
    each, suites = report.by_tier(frame), report.suites(frame)
    for module in (report, figures, findings, tables, words_of_figures):
        monkeypatch.setattr(module, "evaluations", lambda folder: frame)
    for module in (report, figures, tables, words_of_figures):
        monkeypatch.setattr(module, "by_tier", lambda of: each)
    for module in (report, findings, tables):
        monkeypatch.setattr(module, "suites", lambda of: suites)
    monkeypatch.setattr(figures, "panel", lambda *_: "")  # a second each
    return tmp_path, frame, tiers


@pytest.mark.parametrize("grown", STAGES, indirect=True, ids=lambda stage: stage[0])
def test_figures_of_a_growing_campaign(grown):
    folder, frame, tiers = grown
    network, trained, label = (frame.drop_duplicates("id").set_index("id")[name] for name in ("digest", "trained", "label"))
    drawn = [figures.figure1, figures.figure2, figures.figure3, figures.figure4, figures.transfers]
    for number, (draw, tier) in enumerate(zip(drawn, tiers), 1):
        figure = draw(folder)
        shown = [id for ids in figure.numbers.frame["Records"] for id in ids]
        assert set(trained[shown]) == {tier} and len(figure.numbers.frame) >= 4, number
        better = [of for of in reversed(runs.TIERS[runs.TIERS.index(tier) + 1 :]) if of in passed_over(number, frame)]
        named = re.search(r"too little of this is measured at their tier yet: [\w-]+ \(tier ([\w ]+)\)", figure.caption)
        assert (named[1] if named else "") == " and ".join(better), number
        if number < 5:  # a curve is of one network
            used = {(label[id], network[id]) for id in shown}
            assert len(used) == len({name for name, _ in used}), number
        if number == 1:
            others = set(network[(label == "CPNI-W") & (trained == tier)]) - set(network[shown])
            assert ("other trainings of CPNI-W" in figure.caption) == (len(others) > 0)
    words = words_of_figures
    for said, tier in zip((words.figure1, words.figure2, words.figure3, words.figure4, words.transfers), tiers):
        assert set(re.findall(r"\(tier (\w+),", said(folder))) == {tier} and "Too few σ" not in said(folder), said


def passed_over(number, frame):
    """The tiers at which the first base model of a figure is evaluated, of the map as a target."""
    frame = frame[frame["attack"] == "transferred pgd"] if number == 5 else frame
    return set(frame[frame["label"] == ("Gauss" if number == 3 else "CPNI-W")]["tier"])


# What two stages hold too little for; at the first no rank was varied and no attack was transferred either.
LACKING = {"contrasts 2", "contrasts 4", "strengths", "twins", "by epochs", "units in words", "rounding in words", "calibration"}
BEFORE = {"table 4", "table 4 in words", "by rank", "ranks in words"}


@pytest.mark.parametrize("grown, lacking", [(STAGES[1], LACKING | BEFORE), (STAGES[5], LACKING)], indirect=["grown"],
                         ids=[STAGES[1][0], STAGES[5][0]])
def test_tables_and_findings_of_a_growing_campaign(grown, lacking):
    """They show records of the tier and the number of images that they name, and say so of all that is not measured yet."""
    folder, frame, _ = grown
    numbers, varied = tables.TABLES, ("rank", "epochs")
    drawn = {f"table {number}": tables.table(number, folder) for number in numbers}
    drawn |= {f"contrasts {number}": tables.contrasts(number, folder) for number in numbers}
    drawn |= {name: getattr(findings, name)(folder) for name in ("lengths", "gains", "selection", "strengths", "twins", "units")}
    drawn |= {f"by {name}": findings.varied(name, folder) for name in varied}
    said = {f"table {number} in words": words_of_tables.table(number, folder) for number in numbers}
    said |= {f"{name} in words": getattr(words_of_tables, name)(folder) for name in ("training", "ranks", "selection", "units", "rounding")}
    said |= {"calibration": findings.calibration(folder)}
    empty, made = {name for name, text in said.items() if "ot yet measured" in text}, frame.drop_duplicates("id").set_index("id")
    for name, table in drawn.items():
        rows = [row for _, row in table.frame.iterrows() if len(row.get("Records", ()))]
        for row in rows:
            of = made.loc[list(row["Records"])]
            assert {row["Tier"]} == set(of["tier"]) and {row["n"]} == {f"{n:,}" for n in of["n"]}, name
        html = table._repr_html_()
        assert all(id in html for row in rows for id in row["Records"])
        empty |= set() if rows else {name}
    assert empty == lacking
    for of in report.by_tier(frame):  # what the first page says, as if each were the best
        said = words_of_tables._smoothing(*report.cells_of(of))
        assert not said or not re.search("[-−]\\S+ points of the gain", said[-1])
    assert report.NOT_YET.capitalize() not in words_of_tables.headlines(folder)
