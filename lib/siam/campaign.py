"""The campaign: which steps make the measurements, in which order, what of it is done, and what it costs.

A step is one papermill command on a compute notebook. `workflow/campaign.yaml` lists them, most valuable first; the
records in `data/results` say which are done, and nothing else does. `workflow/README.md` explains both.
"""

import argparse
import ast
import json
import math
import shlex
import sys
import traceback
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import product
from pathlib import Path

import torch
import yaml

from siam import evaluation, runs, training
from siam.paths import CHECKPOINTS, RESULTS, ROOT

CAMPAIGN = ROOT / "workflow" / "campaign.yaml"
NOTEBOOKS = {"train": training, "evaluate": evaluation}  # and whose `requested` turns their parameters into runs
GROUPS = ("a", "b", "c", "d", "e", "f", "g", "h")


@dataclass(frozen=True)
class Step:
    """One command. `entry`: its name as the file has it, {words} and all. `parameters`: those it gives the notebook.

    minutes: of the tier's device, estimated where not `measured`. uses, writes: names of checkpoints. needs: names of the steps
    that write what it uses.
    """

    name: str
    entry: str
    group: str
    tier: str
    notebook: str
    parameters: dict
    minutes: float
    measured: bool
    uses: tuple
    writes: tuple
    needs: tuple

    @property
    def device(self):
        return self.parameters["device"]


def _one_of(name, value, allowed):
    if value not in allowed:
        near = get_close_matches(str(value), allowed, 5, 0) if len(allowed) > 40 else ()  # a longer list nobody reads
        many = f"the {len(allowed)} known; the nearest are " if near else ""
        raise ValueError(f"{name} {value!r} is not one of {many}{', '.join(near or allowed)}")


def read(path=CAMPAIGN, checkpoints=CHECKPOINTS):
    """The steps of a campaign's file, in its order.

    Raises ValueError, one line that names the step and the value, for one that is not allowed. Every checkpoint that
    a step uses is written by a step before it or lies in `checkpoints`.
    """
    try:
        said = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"{Path(path).name}, line {error.problem_mark.line + 1}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:  # of a character that YAML does not allow
        raise ValueError(f"{Path(path).name}: {str(error).splitlines()[0]}") from None
    if not isinstance(said, dict) or not isinstance(said.get("tiers"), dict) or not isinstance(said.get("steps"), list):
        raise ValueError(f"{Path(path).name}: not a campaign: it needs a mapping of tiers and a list of steps")
    there = dict.fromkeys(runs.checkpoints_in(checkpoints))
    steps, writers = {}, {}
    for entry in said["steps"]:
        if not isinstance(entry, dict):
            raise ValueError(f"step {entry!r} is no mapping")
        name, repeated = entry.get("name"), entry.get("for", {})
        if not isinstance(repeated, dict) or not all(isinstance(values, list) for values in repeated.values()):
            raise ValueError(f"step {name}: for {repeated!r} is no mapping of words to lists")
        for values in product(*repeated.values()):
            try:
                step = _step(_filled(entry, dict(zip(repeated, values))), name, said["tiers"], there | writers)
                for kind, new, old in (("name", [step.name], steps), ("checkpoint", step.writes, writers)):
                    if twice := [one for one in new if one in old]:
                        raise ValueError(f"another step has the {kind} {twice[0]!r} already")
            except KeyError as missing:
                raise ValueError(f"step {name}: {missing} is not given") from None
            except (AttributeError, TypeError, ValueError) as error:  # the first two of a value of the wrong kind
                raise ValueError(f"step {name}: {error}") from None
            steps[step.name] = step
            writers |= dict.fromkeys(step.writes, step.name)
    return list(steps.values())


def _filled(value, words):
    """`value` with every {word} of its texts replaced; a text that is nothing but a word becomes the word's value."""
    if isinstance(value, dict):
        return {key: _filled(item, words) for key, item in value.items() if key != "for"}
    if isinstance(value, list):
        return [_filled(item, words) for item in value]
    if isinstance(value, str):
        return next((words[word] for word in words if value == f"{{{word}}}"), value.format_map(words))
    return value


def _step(said, entry, tiers, writers):
    for key in said:
        _one_of("key", key, ("name", "for", "group", "tier", "measured", "estimated", *NOTEBOOKS))
    (notebook,), (known,) = _only(said, NOTEBOOKS), _only(said, ("measured", "estimated"))
    _one_of("group", said["group"], GROUPS)
    _one_of("tier", said["tier"], tiers)
    if not isinstance(said[known], (int, float)) or not said[known] > 0:
        raise ValueError(f"{known} {said[known]!r} is not a number of minutes")
    tier, default = tiers[said["tier"]], defaults(notebook)
    own = tier.get("evaluate", {}) if notebook == "evaluate" else {"tier": said["tier"]}
    parameters = {"device": tier["device"]} | own | said[notebook]
    for name in parameters:
        _one_of(f"parameter of {notebook}.ipynb", name, default)
    given = default | parameters
    uses = tuple(name for name in (given.get("start"), given.get("checkpoint"), *given.get("sources", ())) if name is not None)
    for name in uses:
        _one_of("checkpoint", name, writers)
    needs = tuple(dict.fromkeys(writers[name] for name in uses if writers[name]))
    writes = _written(**given) if notebook == "train" else ()
    return Step(said["name"], entry, said["group"], said["tier"], notebook, parameters, said[known],
                known == "measured", uses, writes, needs)


def _only(said, keys):
    if len(found := [key for key in keys if key in said]) != 1:
        raise ValueError(f"give exactly one of {', '.join(keys)}; given: {' and '.join(found) or 'none'}")
    return found


@cache  # every step asks for them
def defaults(notebook):
    """The parameters of a compute notebook and their defaults, from its cell of that tag: one dict for all callers, to be left as it is."""
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    (cell,) = (cell for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    return {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse("".join(cell["source"])).body}


def refuse_unknown(notebook, given):
    """Raise ValueError, one line, for a plain value among the globals `given` of a notebook's first cells that is none of its
    parameters: papermill sets whatever name it is told, a mistyped one too."""
    known = defaults(notebook)
    for name, value in given.items():
        if isinstance(value, (bool, int, float, str, list, tuple, dict)) and name not in (*known, "In", "Out") and name[0] != "_":
            raise ValueError(f"{name} = {value!r} is no parameter of {notebook}.ipynb, which has {', '.join(known)}")


def _written(variant, method, tier, rank, start, sigma, seeds, changes, device):
    """The names of the checkpoints that a training writes: they follow even before there is a `start`."""
    plan, start = training.fields_of(training.schedule(tier, method, variant, **changes)), start and "0" * 16
    asked = [runs.TrainingRun(variant, method, plan, rank, start, sigma, seed) for seed in seeds]
    return tuple(name for run in asked for name, _ in training.checkpoints_of(run).values())


def finished(step, checkpoints=CHECKPOINTS, results=RESULTS):
    """Whether every run of the step has a record. That of a checkpoint neither here nor on record has no identity, and none."""
    given = defaults(step.notebook) | step.parameters | {"device": "cpu"}  # a run is the same on every device
    try:
        asked = NOTEBOOKS[step.notebook].requested(**given, checkpoints=checkpoints, results=results)
    except FileNotFoundError:
        return False
    except ValueError as error:
        raise ValueError(f"step {step.name}: {error}") from None
    return all(runs.finished(run, results) for run in asked)


def select(steps, tiers=(), device=None):
    """The steps of some tiers, or of a device's tiers: without either, of the best device that torch finds here.

    Raises ValueError, one line, for a tier that no step has, and for tiers none of which is the device's.
    """
    for tier in tiers:
        _one_of("tier", tier, sorted({step.tier for step in steps}, key=runs.TIERS.index))
    if not tiers and device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = [step for step in steps if (not tiers or step.tier in tiers) and device in (None, step.device)]
    if tiers and not chosen:
        there = ", ".join(sorted({step.tier for step in steps if step.device == device}, key=runs.TIERS.index)) or "none"
        raise ValueError(f"no step has the tier {' or '.join(tiers)} and the device {device}, whose tiers are: {there}")
    return chosen


def possible(steps, done, checkpoints=CHECKPOINTS):
    """Of `steps` those not in `done`: (those whose networks are in `checkpoints` or written by a step before them, the others).

    A finished training is not repeated, and its network need not be here: few of them ship.
    """
    here, able, unable = set(runs.checkpoints_in(checkpoints)), [], []
    for step in steps:
        if step.name not in done:
            there = here.issuperset(step.uses)
            (able if there else unable).append(step)
            here.update(step.writes if there else ())
    return able, unable


def in_words(unable):
    """What is said of steps that are left out, one line, or "" without any."""
    lacking = "; ".join(f"{step.name} needs {' and '.join(step.uses)}" for step in unable)
    return f"left out, for lack of networks in data/checkpoints: {lacking}" if unable else ""


def following(steps, done, minutes):
    """Of `steps`, in their order, those to do next: not in `done`, within the minutes, needs done or among them.

    Where none fits, the first whose needs are done: cut off, it goes on the next time.
    """
    chosen, ready = [], set(done)
    for step in steps:
        if step.name not in ready and step.minutes <= minutes and ready.issuperset(step.needs):
            chosen.append(step)
            ready.add(step.name)
            minutes = round(minutes - step.minutes, 6)
    return chosen or [step for step in steps if step.name not in ready and ready.issuperset(step.needs)][:1]


def remark(chosen, able, unable, minutes):
    """What is said beside a script of the steps `chosen` from `able` (see `possible`) where the minutes do not hold them, or there are
    none: a line, or "" where there is nothing to say."""
    if not chosen:
        return "nothing is left" + " that can be done here" * bool(able or unable)
    if chosen[0].minutes > minutes:
        (step,) = chosen
        return f"no step left fits into {minutes:g} minutes: {step.name} takes ~{step.minutes:g}; if killed, it resumes where it was"
    return ""


def command(step):
    """A step as one line for a shell: its log and the executed notebook lie below workflow/, the latter once it is whole."""
    part = f"workflow/executed/{step.name}.part.ipynb"
    words = ["papermill", f"notebooks/{step.notebook}.ipynb", part, "--no-progress-bar", "--log-output"]
    for name, value in step.parameters.items():
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            words += ["-p", name, str(value)]
        else:
            words += ["-y", f"{name}: {json.dumps(value)}"]  # JSON is YAML
    return f"{shlex.join(words)} > workflow/logs/{step.name}.log 2>&1 && mv {part} workflow/executed/{step.name}.ipynb"


def script(steps, minutes):
    """A bash script that carries out `steps` and says what it was made for. One that fails does not stop the rest."""
    lines = [
        "#!/usr/bin/env bash",
        f"# {len(steps)} step{'s' * (len(steps) != 1)}, {sum(step.minutes for step in steps):g} of {minutes:g} minutes."
        " Run it in the repository's root.",
        "# A step that is cut off resumes the next time, from data/checkpoints/.partial or data/results/.partial.",
        'export PATH="$PWD/.venv/bin:$PATH" OMP_NUM_THREADS=1',
        "mkdir -p workflow/executed workflow/logs",
        "failed=0",
    ]
    for step in steps:
        failed = f'echo "failed: {step.name}, see workflow/logs/{step.name}.log" >&2; failed=1;'
        lines += [f'echo "$(date +%T) {step.name}"', f"{command(step)} || {{ {failed} }}"]
    return "\n".join([*lines, "exit $failed", ""])


def carry_out(step):
    """Make the records of a step that are not there yet in this process: without papermill, and what steps share is loaded once.

    Raises ValueError, FileNotFoundError or FileExistsError, one line, as the notebook would: before the first of them what
    `requested` and `ready` of its module do, and at each what `train` or `evaluate` does.
    """
    module, given = NOTEBOOKS[step.notebook], defaults(step.notebook) | step.parameters
    asked = module.requested(**given)
    module.ready(asked)
    for number, run in enumerate(asked, 1):
        done = runs.finished(run)
        print(f"{step.name}: {number} of {len(asked)}, {run.id}{', finished already' if done else ''}", flush=True)
        if not done:
            getattr(module, step.notebook)(run, given["device"])


def tried(step):
    """Whether `carry_out` went well; if not, why is printed, so that the steps after it have their turn."""
    try:
        carry_out(step)
    except Exception as error:  # of any kind: a GPU's memory that is full is a RuntimeError
        if not isinstance(error, (OSError, ValueError)):  # those say in one line what is wrong
            traceback.print_exc()
        print(f"failed: {step.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return False
    return True


def status(steps, done):
    """A Markdown table, one line for each entry of the file: how much of it is in `done`, and what the rest costs."""
    lines = ["| group | tier | step | done | minutes each | minutes left |", "|---|---|---|---|---|---|"]
    for group, entry in dict.fromkeys((step.group, step.entry) for step in steps):
        of = [step for step in steps if (step.group, step.entry) == (group, entry)]
        left = sum(step.minutes for step in of if step.name not in done)
        count = f"{sum(step.name in done for step in of)} of {len(of)}"
        tiers = ", ".join(dict.fromkeys(step.tier for step in of))
        each = f"{'' if of[0].measured else '~'}{of[0].minutes:g}"
        lines.append(f"| {group} | {tiers} | `{entry}` | {count} | {each} | {f'~{left:g}' if left else ''} |")
    for device, unit in (("cuda", "GPU"), ("cpu", "CPU")):
        left = sum(step.minutes for step in steps if step.device == device and step.name not in done)
        lines.append(f"| | | all, in {unit}-minutes | | | ~{left:g} |")
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m siam.campaign", description="What is measured, what is left, what comes next.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="print the table of what is done, what is left, and what it costs")
    commands.add_parser("readme", help="write that table into workflow/README.md")
    about = "print a bash script of the next unfinished steps that fit into the minutes, most valuable first, or of the next if none fits"
    making = commands.add_parser("script", help=about, description=f"{about.capitalize()}. Each step has the networks it needs, or "
                                 "comes after their training. Without --tier or --device: the tiers of this machine's best device.")
    making.add_argument("--minutes", type=float, default=25, help="GPU-minutes, or minutes of one CPU thread (default: %(default)g)")
    making.add_argument("--tier", action="append", default=[], help="only this tier, or these: fast,paper; may be repeated")
    making.add_argument("--device", choices=("cpu", "cuda"), help="only the tiers of this device")
    about = ("carry out steps in this process, without papermill, for a machine that has torch but no Jupyter;"
             " a failing step stops no other")
    carrying = commands.add_parser("run", help=about, description=f"{about[0].upper()}{about[1:]}.")
    carrying.add_argument("names", nargs="+", metavar="STEP", help="a step's name, as `script` prints it")
    chosen = parser.parse_args(arguments)
    try:
        steps = read()
        if chosen.command == "run":
            named = {step.name: step for step in steps}
            if unknown := [name for name in chosen.names if name not in named]:
                near = ", ".join(get_close_matches(unknown[0], named, n=3, cutoff=0))
                raise ValueError(f"no step {unknown[0]!r} in campaign.yaml; the nearest are {near}")
            failed = [name for name in chosen.names if not tried(named[name])]
            if failed:
                sys.exit(f"error: {len(failed)} of {len(chosen.names)} failed: {', '.join(failed)}")
            return
        done = {step.name for step in steps if finished(step)}
        if chosen.command == "script":
            if not 0 < chosen.minutes < math.inf:
                raise ValueError(f"minutes = {chosen.minutes:g} is not allowed: give a number above 0")
            wanted = select(steps, [tier for said in chosen.tier for tier in said.split(",")], chosen.device)
            able, unable = possible(wanted, done)
            coming = following(able, done, chosen.minutes)
            print(script(coming, chosen.minutes), end="")
            for line in filter(None, (remark(coming, able, unable, chosen.minutes), in_words(unable))):
                print(line, file=sys.stderr)
        elif chosen.command == "readme":
            from siam.book import between  # needs what renders notebooks, which a machine that only computes may lack

            between(CAMPAIGN.with_name("README.md"), status(steps, done), "status")
        else:
            print(status(steps, done))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
