"""Runs and their records: what was asked, what came out, and the file that ties the two together.

A *run* is a small frozen description of what was asked; its id is computed from it: same run, same id.
A *record* is the JSON file that adds what came out. A finished run is never repeated.
Nothing here imports torch: the book is built from records alone.
"""

import hashlib
import json
import math
import os
import platform
import re
import subprocess
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from functools import lru_cache
from importlib import metadata
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from scipy.special import betaincinv, stdtrit

from siam import bits
from siam.files import alone, read_json, write_text
from siam.paths import CHECKPOINTS, RESULTS, ROOT

TIERS = ("smoke", "cpu", "long", "fast", "paper")  # worst to best
REPRODUCTIONS = ("fast", "paper")  # those whose accuracies may be held against the paper's
VARIANTS = ("plain", "PNI-W", "CPNI-W", "CPNI-A-a", "CPNI-W+A-a")
ALPHA = 0.25  # initial relative strength of the white noise; the authors start PNI and CPNI alike from it
F_INIT = 0.01  # initial value of every entry of F, as in the authors' code
METHODS = ("plain", "adversarial", "gauss", "epgd")
ATTACKS = ("none", "fgsm", "pgd", "epgd", "pgd-sum", "epgd-sum")  # -sum: as the authors' code has it, `attacks.pgd(summed=True)`
SPLITS = {"test": 10_000, "heldout": 1_000, "sample-test": 500}  # and how many images they have
PRECISIONS = ("fp32", "bf16")
RULES = ("prediction", "soft", "soft-logits", "weighted", "second")
NOT_HERE = "recorded, but not here, as not every network ships: train it again with notebooks/train.ipynb and another folder in SIAM_DATA"


def _require(ok, name, value, allowed):
    if not ok:
        raise ValueError(f"{name} = {value!r} is not allowed: {allowed}")


def one_of(name, value, allowed):
    """Raise ValueError naming `value` where it is none of the texts `allowed`."""
    _require(isinstance(value, str) and value in allowed, name, value, "give one of " + ", ".join(allowed))


def _digest(name, value):
    ok = isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value)
    _require(ok, name, value, "give a digest of 16 hexadecimal digits")


def real(name, value):
    """`value` as a float of six significant digits, so that 0.24, 0.240 and float32(0.24) are one number.

    Raises ValueError naming it where it is no finite number, 0 or more.
    """
    ok = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    _require(ok, name, value, "give a finite number, 0 or more")
    return float(f"{value:.6g}") + 0.0


def whole(name, value, least):
    """`value` as an int. Raises ValueError naming it where it is no whole number, `least` or more."""
    ok = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    ok = ok and int(value) == value and value >= least
    _require(ok, name, value, f"give a whole number, {least} or more")
    return int(value)


def _plain(value):
    """A schedule's value in one spelling: numpy scalars, tuples and 12.0 become numbers, lists and 12."""
    if isinstance(value, dict):
        return {str(key): _plain(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    ok = isinstance(value, Real) and math.isfinite(value)
    _require(ok, "schedule value", value, "give finite numbers or text")
    value = float(f"{value:.6g}")
    return int(value) if value.is_integer() else value


def in_255ths(name, value, least, usual):
    """Raise ValueError, one line, for a size in 1/255 of the pixel range that is more than all of it, or, below `least`, must be
    meant as a fraction."""
    _require(value == 0 or least <= value <= 255, name, value, f"its unit is 1/255: give {usual} for {usual}/255, at most 255")


def refuse_start(start, method):
    """Raise ValueError naming `start` unless it is a checkpoint for a method that fine-tunes one, and None for the others."""
    _require((start is None) == (method not in ("gauss", "epgd")), "start", start,
             "methods gauss and epgd fine-tune a checkpoint, the others start afresh")


def several(name, values):
    """Raise ValueError, one line, if the parameter `name` of a notebook is not a list of one or more values."""
    shown = values if values is not None and re.fullmatch(r"[\w.+-]+", str(values)) else "…"
    _require(isinstance(values, (list, tuple)) and len(values) > 0, name, values,
             f"give a list of one or more values, on papermill's command line as -y '{name}: [{shown}]'")


class _Run:
    """What both kinds of run share: canonical fields, and an id computed from them."""

    def _set(self, **values):
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def id(self):
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON of the kind and the run."""
        text = json.dumps({"kind": self.kind, "run": asdict(self)}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class TrainingRun(_Run):
    """One training, as asked.

    variant: noise of the layers, one of VARIANTS. rank: r of the coloured noise (0 where it is white).
    method: one of METHODS; "gauss" and "epgd" are the paper's fine-tunings. schedule: tier, epochs, lr, …
    start: digest of the checkpoint it fine-tunes, or None. sigma: input noise in normalised units.
    seed: fixes every draw.
    Raises ValueError, one line, for a value that is not allowed.
    """

    variant: str
    method: str
    schedule: dict = field(hash=False)
    rank: int = 5
    start: str | None = None
    sigma: float = 0.0
    seed: int = 0

    kind = "training"

    def __post_init__(self):
        one_of("variant", self.variant, VARIANTS)
        one_of("method", self.method, METHODS)
        coloured = self.variant.startswith("CPNI")
        ok = isinstance(self.schedule, dict)
        _require(ok, "schedule", self.schedule, "give a dict with tier and epochs")
        schedule = _plain(self.schedule)
        one_of("schedule tier", schedule.get("tier"), TIERS)
        whole("schedule epochs", schedule.get("epochs"), 1)
        if self.start is not None:
            _digest("start", self.start)
        refuse_start(self.start, self.method)
        sigma = real("sigma", self.sigma)
        _require(sigma > 0 or self.method != "gauss", "sigma", self.sigma, "method gauss needs sigma above 0")
        self._set(rank=whole("rank", self.rank, 0) if coloured else 0, schedule=schedule, sigma=sigma,
                  seed=whole("seed", self.seed, 0))


@dataclass(frozen=True)
class EvaluationRun(_Run):
    """One evaluation of one checkpoint, as asked: attack, then smooth, then count.

    checkpoint, digest: name and content digest of the network. attack: one of ATTACKS.
    epsilon, step_size: in 1/255 of the pixel range; a step is ε/4, as in the authors' code, unless given. steps: gradient steps.
    samples: noise draws per step, 8 for EPGD unless given.
    sigma: input noise in normalised units, in the attack and in the vote. draws: largest M, a power of two.
    split: one of SPLITS. images: how many of it. batch_size: images that share one draw of the layers' noise.
    seed: fixes every draw. precision: one of PRECISIONS. source, source_sigma: digest of the network on which a
    transferred attack is made, and its σ; None where the attack is made on the network itself.
    Fields that an attack does not use take the value that says so: equal work has an equal id.
    Raises ValueError, one line, for a value that is not allowed.
    """

    checkpoint: str
    digest: str
    attack: str = "pgd"
    epsilon: float = 8.0
    step_size: float | None = None
    steps: int = 7
    samples: int | None = None
    sigma: float = 0.0
    draws: int = 64
    split: str = "test"
    images: int = 1000
    batch_size: int = 250
    seed: int = 0
    precision: str = "fp32"
    source: str | None = None
    source_sigma: float | None = None

    kind = "evaluation"

    def __post_init__(self):
        ok = isinstance(self.checkpoint, str) and re.fullmatch("[A-Za-z0-9][A-Za-z0-9._+-]*", self.checkpoint)
        _require(ok, "checkpoint", self.checkpoint, "give its name, of letters, digits and . _ + -")
        _digest("digest", self.digest)
        one_of("attack", self.attack, ATTACKS)
        one_of("split", self.split, SPLITS)
        one_of("precision", self.precision, PRECISIONS)
        epsilon = real("epsilon", self.epsilon)
        step_size = real("step_size", epsilon / 4 if self.step_size is None else self.step_size)
        averages = self.attack.startswith("epgd")
        usual = 8 if averages else 1
        steps, samples = whole("steps", self.steps, 0), whole("samples", usual if self.samples is None else self.samples, 0)
        if self.attack == "none":
            epsilon, step_size, steps, samples = 0.0, 0.0, 0, 0
        else:
            in_255ths("epsilon", self.epsilon, 0.5, 8)
            in_255ths("step_size", step_size, 0.1, 2)
            _require(step_size > 0 or epsilon == 0, "step_size", self.step_size, "an attack of such steps goes nowhere")
            _require(steps >= 1, "steps", self.steps, "give a whole number, 1 or more")
            least = 2 if averages else 1  # of one sample it is PGD, under another id
            _require(samples >= least, "samples", self.samples, f"give a whole number, {least} or more")
            if self.attack == "fgsm":  # one step as long as the budget
                step_size, steps = epsilon, 1
            if self.attack in ("fgsm", "pgd", "pgd-sum"):  # they take one gradient a step
                samples = 1
        sigma, source, source_sigma = real("sigma", self.sigma), self.source, None
        if self.attack == "none":
            source = None
        if source is not None:
            _digest("source", source)
            source_sigma = real("source_sigma", 0.0 if self.source_sigma is None else self.source_sigma)
            if (source, source_sigma) == (self.digest, sigma):  # that is the network itself
                source = source_sigma = None
        draws = whole("draws", self.draws, 1)
        _require(draws & (draws - 1) == 0, "draws", self.draws, "give M as a power of two: 1, 2, 4, …")
        images, there = whole("images", self.images, 1), SPLITS[self.split]
        _require(images <= there, "images", images, f"the split {self.split} has {there}")
        batch_size = min(whole("batch_size", self.batch_size, 1), images)
        self._set(epsilon=epsilon, step_size=step_size, steps=steps, samples=samples, draws=draws,
                  sigma=sigma, images=images, batch_size=batch_size, seed=whole("seed", self.seed, 0),
                  source=source, source_sigma=source_sigma)


_KINDS = {cls.kind: cls for cls in (TrainingRun, EvaluationRun)}
_OUTCOME = {"training": ("tier", "checkpoints", "history"), "evaluation": ("tier", "n", "result")}


def digest(path):
    """First 16 hexadecimal digits of the SHA-256 of a file's bytes: the identity of a checkpoint."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def record_path(run, folder=RESULTS):
    """Where the record of `run` is, or will be: folder/<kind>/<id>.json."""
    return Path(folder) / run.kind / f"{run.id}.json"


def finished(run, folder=RESULTS):
    """Whether `run` has a record. Raises ValueError if the file there is corrupt or is not its record."""
    path = record_path(run, folder)
    return path.exists() and bool(read(path))


def record(run, **outcome):
    """The record of `run`: a dict of its kind, id and fields, and of what came out. `write` stores it."""
    return {"kind": run.kind, "id": run.id, "run": asdict(run), **outcome}


def write(record, folder=RESULTS):
    """Store a record once, atomically, and return its path.

    Raises FileExistsError if the run is finished already, ValueError if the record is not one.
    """
    run = _check(record, "record")
    path = record_path(run, folder)
    if path.exists():
        raise FileExistsError(f"{path}: run {run.id} is finished; delete this record to run it again")
    return write_json(path, record)


def write_json(path, obj):
    """Write `obj` as JSON (sorted keys, indent 1): a crash leaves the old file or the new one, never a half.

    Numbers that are not finite become null, as JSON has no word for them. Returns the path.
    """
    path = Path(path)
    text = json.dumps(_finite(obj), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text)
    return path


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(path):
    """The record stored at `path`, a dict. Raises ValueError, one line, for a corrupt or foreign file."""
    path = Path(path)
    record = read_json(path)
    run = _check(record, path)
    if path.stem != run.id:
        raise ValueError(f"{path}: not a record: its run has the id {run.id}, its name says {path.stem}")
    return record


def recorded(folder=RESULTS):
    """What the training records in `folder` say of the checkpoints that they kept, a dict for each: its name, digest and tier, and the
    id and fields of its run. Of a network that does not ship it is all there is."""
    paths = sorted((Path(folder) / "training").glob("*.json"))
    return [kept for path in paths for kept in _kept(path, path.stat().st_mtime_ns)]


def trained_as(name, folder=RESULTS):
    """Those of `recorded` that go by `name`."""
    return [kept for kept in recorded(folder) if kept["name"] == name]


@lru_cache(maxsize=None)
def _kept(path, modified):
    """As `recorded`, of the training record at `path`, read again once it was `modified`."""
    record = read(path)
    about = {**record["run"], "id": record["id"], "tier": record["tier"]}
    return [{**about, "name": kept["name"], "digest": kept["digest"]} for kept in record["checkpoints"]]


def checkpoints_in(folder):
    """The names of the checkpoints in a folder."""
    return sorted(path.stem for path in Path(folder).glob("*.safetensors"))


def missing(path, folder=RESULTS):
    """What is to be said where no checkpoint is at `path`, one line; `folder` has the records of those that there may once have been."""
    path = Path(path)
    there = f"there are: {', '.join(checkpoints_in(path.parent)) or 'none'}"
    if path.suffix != ".safetensors":
        return f"no checkpoint {str(path)!r}: give the path of its file, which ends in .safetensors; in the folder {path.parent} {there}"
    lacking = f"no checkpoint {path.stem!r} in the folder {path.parent}"
    if (ROOT / "data" / "checkpoints" / path.name).exists():
        return f"{lacking}: it ships in data/checkpoints: copy it, with the record of its training (book/own.md); {there}"
    away = trained_as(path.stem, folder) and not (CHECKPOINTS / path.name).exists()
    return f"{lacking}{f': it is {NOT_HERE}' if away else f'; {there}'}"


def _check(record, where):
    """The run inside a record. Raises ValueError, one line that names `where`, if anything disagrees."""
    def refuse(why):
        raise ValueError(f"{where}: not a record: {why}")

    if not isinstance(record, dict) or record.get("kind") not in list(_KINDS):  # a list, as what is no text may have no hash
        refuse("its kind must be one of " + ", ".join(_KINDS))
    kind, asked = record["kind"], record.get("run")
    names = {f.name for f in fields(_KINDS[kind])}
    if not isinstance(asked, dict) or set(asked) != names:
        refuse(f"the fields of its run must be {', '.join(sorted(names))}")
    try:
        run = _KINDS[kind](**asked)
    except ValueError as error:
        refuse(error)
    if record.get("id") != run.id:
        refuse(f"its run has the id {run.id}, it says {record.get('id')!r}")
    for name in _OUTCOME[kind]:
        if name not in record:
            refuse(f"it has no {name!r}")
    if record["tier"] not in TIERS:
        refuse(f"its tier must be one of {', '.join(TIERS)}, it says {record['tier']!r}")
    if kind == "evaluation":
        if run.split.startswith("sample") and record["tier"] != "smoke":
            refuse(f"the shipped sample is of tier smoke, it says {record['tier']!r}")
        if record["n"] != run.images:
            refuse(f"it was asked for {run.images} images, its n is {record['n']!r}")
        if not isinstance(record["result"], list) or not record["result"]:
            refuse("its result must be a list of rows")
        named = [line["rule"] for line in record["result"] if isinstance(line, dict) and isinstance(line.get("rule"), str)]
        if unknown := [rule for rule in named if rule not in RULES]:
            refuse(f"its rule {unknown[0]!r} is not one of {', '.join(RULES)}: a rule of your own must be in RULES of lib/siam/runs.py")
        for line in record["result"]:
            if not _consistent(line, run):
                refuse(f"row {line} does not fit n = {run.images}, draws = {run.draws}, rules {RULES}")
        if len({(line["rule"], line["M"]) for line in record["result"]}) < len(record["result"]):
            refuse("its result has a rule and M twice")
        try:
            right = right_of(record)
        except ValueError as error:
            refuse(error)
        if right is not None and list(right.sum(1)) != [line["correct"] for line in record["result"]]:
            refuse("its right does not fit the counts of its result")
    else:
        for name in ("checkpoints", "history"):
            if not isinstance(record[name], list):
                refuse(f"its {name} must be a list, it says {record[name]!r}")
        for kept in record["checkpoints"]:
            if not isinstance(kept, dict) or not isinstance(kept.get("name"), str):
                refuse(f"a checkpoint of it must be a dict with its name and digest, it says {kept!r}")
            try:
                _digest(f"digest of {kept['name']}", kept.get("digest"))
            except ValueError as error:
                refuse(error)
    return run


def right_of(record):
    """Which images [rows of its result, n] were right in an evaluation; None in a record that keeps counts alone."""
    return bits.unpack(record["right"], len(record["result"]), record["n"]) if "right" in record else None


def _consistent(line, run):
    """Whether a row of an evaluation's result may be of `run`, its accuracy and interval those of its count."""
    try:
        M, correct, said = line["M"], line["correct"], [line[name] for name in ("accuracy", "low", "high")]
        ok = line["rule"] in RULES and 1 <= M <= run.draws and M & (M - 1) == 0 and 0 <= correct <= run.images
        found = correct / run.images, *clopper_pearson(correct, run.images)
        return ok and all(abs(one - other) < 1e-6 for one, other in zip(said, found))
    except (KeyError, TypeError, ValueError):
        return False


def clopper_pearson(correct, n, level=0.95):
    """Exact (Clopper–Pearson) confidence interval of a proportion: `correct` of `n` images -> (low, high)."""
    n = whole("n", n, 1)
    correct = whole("correct", correct, 0)
    _require(correct <= n, "correct", correct, f"give at most n = {n}")
    _require(0 < level < 1, "level", level, "give a number between 0 and 1")
    tail = (1 - level) / 2
    low = betaincinv(correct, n - correct + 1, tail) if correct > 0 else 0.0  # a quantile of the beta distribution
    high = betaincinv(correct + 1, n - correct, 1 - tail) if correct < n else 1.0
    return float(low), float(high)


def batches(n, batch):
    """How many equal batches n images in batches of `batch` amount to: n² / Σ n_b², which is their number where all are equal."""
    many, rest = divmod(n, batch)
    return n**2 / (many * batch**2 + rest**2)


def error_over_batches(each, batch):
    """Of a value per image [n] the standard error of their mean, where `batch` images share their draws and the batches are the sample,
    and its degrees of freedom. Raises ValueError, one line, for fewer than two batches."""
    k = batches(len(each), batch)
    if k <= 1:
        raise ValueError(f"{len(each)} values in batches of {batch}: an interval needs two batches or more")
    sums = np.bincount(np.arange(len(each)) // batch, each - each.mean())
    return np.sqrt(k / (k - 1) * np.sum(sums**2)) / len(each), k - 1


def with_draws(ends, each, batch):
    """The ends (low, high) of an accuracy's exact interval, or those of the 95 % interval over batches where they lie further out.

    each: the share of runs in which each image was right [n]. One interval knows the luck of images, the other that of draws as well,
    which images of a batch have in common: with few votes it may be the greater part. Fewer than two whole batches do not tell.
    """
    if 2 * batch > len(each):
        return ends
    error, freedom = error_over_batches(each, batch)
    accuracy, half = each.mean(), stdtrit(freedom, 0.975) * error
    return max(0.0, min(ends[0], accuracy - half)), min(1.0, max(ends[1], accuracy + half))


def row(rule, M, correct, n):
    """One row of an evaluation's result: accuracy of `rule` over M draws, and its exact 95 % interval."""
    one_of("rule", rule, RULES)
    low, high = clopper_pearson(correct, n)
    return {"rule": rule, "M": int(M), "correct": int(correct), "accuracy": round(int(correct) / n, 6),
            "low": round(low, 6), "high": round(high, 6)}


def tier(training_tier, split, images):
    """The tier of an evaluation: with the 10,000 test images its training's, else at best cpu. The shipped sample is always smoke."""
    one_of("training_tier", training_tier, TIERS)
    one_of("split", split, SPLITS)
    if split.startswith("sample"):
        return "smoke"
    best = "paper" if split == "test" and images >= 10_000 else "cpu"
    return min(training_tier, best, key=TIERS.index)


def provenance(device):
    """Where numbers come from: {"device", "versions", "commit", "date"}, to be merged into a record."""
    return {"device": device, "versions": _versions(), "commit": COMMIT,
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d")}


def going_on(path, found, here):
    """The provenance (`provenance`) of a cut-off run that goes on with `here`, begun with `found`: `here`, and `begun`, a list
    of the parts before that were made with anything else, the date apart; without `begun` where there are none. Both may have a `begun`.

    Raises ValueError, one line that names the file at `path` from which it goes on, where that was another kind of device.
    """
    device, kind = (of["device"].split(":")[0] for of in (found, here))
    if device != kind:
        raise ValueError(f"{path}: begun on {device}, not on {kind}: go on there, or remove it to begin again")
    parts = [*found.get("begun", ()), {name: value for name, value in found.items() if name != "begun"}, *here.get("begun", ())]
    here = {name: value for name, value in here.items() if name != "begun"}
    others = [part for i, part in enumerate(parts) if part | {"date": None} != here | {"date": None} and part not in parts[:i]]
    return here | ({"begun": others} if others else {})


def grown(record, path, here):
    """The provenance of a `record` at `path`, a dict that may have none yet, to which what is made `here` is added: as `going_on`."""
    found = {name: record[name] for name in (*here, "begun") if name in record}
    return going_on(path, found, here) if set(here) - {"begun"} <= set(found) else here


def in_batches(n, batch):
    """Raise ValueError, one line, unless n images fill two batches or more, which an interval needs."""
    if n < 2 * batch or n % batch:
        raise ValueError(f"images = {n}: give a multiple of {batch}, {2 * batch} or more")


PART = "a part of this measurement (remove it to have it measured again)"  # what such a file should be, for `siam.files.read_npz`


@contextmanager
def in_parts(folder, what, here):
    """A measurement whose parts are kept in `folder` until its record is written: its provenance, and a function of what tells a part
    from the others, the part's path.

    what: all that the measurement is made of, as JSON holds it: by its digest the parts are known. The provenance is `here`, and where
    it was cut off and goes on, that of its earlier pieces too. When the block ends the parts go; where it raises, they stay.

    Raises ValueError, one line that names a file, where another process measures the same, to whatever record.
    """
    known_by = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]
    begun = Path(folder) / f"{known_by}.json"
    def remove(*names):
        for part in [part for name in names for part in Path(folder).glob(name)]:
            part.unlink()

    with alone(begun):
        remove(f".{known_by}-*.part", *([] if begun.exists() else [f"{known_by}-*"]))  # half written, or of unknown origin
        here = grown(read_json(begun) if begun.exists() else {}, begun, here)
        write_json(begun, here)
        yield here, lambda *part: Path(folder) / f"{known_by}-{'-'.join(map(str, part))}.npz"
        remove(f"{known_by}-*", begun.name)  # last what says where parts are from: cut off here, none is left without


def _versions():
    found = {"python": platform.python_version()}
    for name in ("siam", "torch", "torchvision", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def _commit():
    """The commit of the source, "+changes" where lib/ differs from it; outside a git checkout what SIAM_COMMIT says, or "unknown"."""
    def git(*command):
        command = ("git", "-C", str(ROOT), *command)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        commit = git("rev-parse", "--short=12", "HEAD").strip()
        return commit + ("+changes" if git("status", "--porcelain", "--", "lib").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("SIAM_COMMIT", "unknown")


COMMIT = _commit()  # of the code as this process read it: what is committed while a run goes on did not make its numbers
