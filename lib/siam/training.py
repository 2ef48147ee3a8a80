"""Training: one loop for plain and adversarial training (eq. 6), Gauss (eq. 22) and EPGD fine-tuning.

What differs is data, not code: the noise a classifier carries, and the attack of the schedule. Every draw follows from
(seed, epoch, step), so the state to resume from is weights, momentum and position, and a killed run that is started again
ends in the same weights, on the same kind of machine with as many threads: their number decides the order of sums. Where it
was another, the record says so.
"""

import copy
import json
import math
import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from siam import export, models, runs
from siam.attacks import NotFinite, error_of, pgd
from siam.cifar10 import HELDOUT
from siam.data import crop_and_flip, images, pixels
from siam.devices import autocast, available, describe
from siam.files import alone, writing
from siam.folding import Folded
from siam.graphs import captured
from siam.noise import soften
from siam.paths import CHECKPOINTS, RESULTS
from siam.seeding import seed, seeded

SHAPES = ("steps", "triangle")
MIXES = ("both", "either")
SAMPLE_TRAINING = 250  # images of sample-train that may be trained on; the other 50 are held out
ALL = 50_000 - HELDOUT  # images of train


@dataclass(frozen=True)
class Schedule:
    """How to train. ε and step_size in 1/255 of the pixel range; the defaults are the authors'.

    shape: "steps" divides lr by 10 at each milestone (an epoch); "triangle" rises to lr over a quarter of the steps and
    falls to zero. weight: of the adversarial loss, w in eq. (6). mix: "both" trains on every image clean and attacked
    (eq. 6); "either" attacks it with probability w (the B of eq. 22), the same loss on average, but for BatchNorm, at half the cost.
    noise_start: factor of `noise.soften`, 1 for the authors' start; noise_lr: factor on the learning rate of its parameters.
    clip: the gradient of all parameters together is shortened to this norm where it is longer; 0 leaves it. summed: as
    `attacks.pgd` has it. Both are as the authors have them at the tier paper alone.
    precision: "fp32" or "bf16" (autocast with fp32 weights and noise), the one switch that trades rounding for speed.
    """

    tier: str = "paper"
    epochs: int = 400
    batch_size: int = 256
    lr: float = 0.1
    shape: str = "steps"
    milestones: tuple = (200, 300)
    momentum: float = 0.9
    weight_decay: float = 1e-4
    weight: float = 0.5
    mix: str = "both"
    epsilon: float = 8.0
    step_size: float = 2.0
    steps: int = 7
    samples: int = 1
    noise_start: float = 1.0
    noise_lr: float = 1.0
    clip: float = 0.0
    summed: bool = False
    precision: str = "fp32"
    split: str = "train"
    images: int | None = None

    def __post_init__(self):
        choices = dict(shape=SHAPES, mix=MIXES, precision=runs.PRECISIONS, split=("train", "sample-train"))
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} {getattr(self, name)!r} is not one of {', '.join(allowed)}")
        for name, least in dict(epochs=1, batch_size=1, steps=0, samples=1).items():
            runs.whole(name, getattr(self, name), least)
        for name in ("lr", "momentum", "weight_decay", "weight", "epsilon", "step_size", "noise_start", "noise_lr", "clip"):
            runs.real(name, getattr(self, name))
        if not isinstance(self.milestones, (list, tuple)):
            raise ValueError(f"milestones = {self.milestones!r} is not allowed: give a list of epochs")
        for milestone in self.milestones:
            runs.real("a milestone", milestone)
        # Of the shipped sample's training images the last are held out; with the split train, others are.
        most = SAMPLE_TRAINING if self.split == "sample-train" else ALL
        if self.images is not None or self.split == "sample-train":
            if runs.whole("images", self.images, 1) > most:
                raise ValueError(f"images = {self.images!r} is not allowed: give at most {most:,} of the split {self.split}")
        if not 0 < self.momentum < 1:
            raise ValueError(f"momentum = {self.momentum!r} is not allowed: give a number above 0 and below 1")
        if self.weight > 1:
            raise ValueError(f"weight = {self.weight!r} is not allowed: give a number from 0 to 1")
        if not isinstance(self.summed, bool):
            raise ValueError(f"summed = {self.summed!r} is not allowed: give True or False")
        runs.in_255ths("epsilon", self.epsilon, 0.5, 8)
        runs.in_255ths("step_size", self.step_size, 0.1, 2)  # a quarter of a small ε is a step too


def fields_of(plan):
    """A Schedule as a run has it, a dict: without `clip` and `summed` where they change nothing, as in runs from before there were such."""
    return {name: value for name, value in asdict(plan).items() if value or name not in ("clip", "summed")}


def schedule(tier, method, variant="CPNI-W", /, **changes):
    """The schedule of a tier for a training method and a variant; `changes` replace single fields, by name.

    The paper tier is the authors' schedule, in bf16. With few epochs the noise starts softly, D about as strong as PNI's,
    and learns a hundred times slower than the weights: the authors' coloured noise starts about as strong as the
    weights, and trials with it got little beyond guessing. PNI's has no need of that: it is softened at the lower tiers alone, which
    began so. At the tiers long, cpu and smoke an image is trained on clean or attacked, not both, which
    halves the work; at the cpu tier adversarial examples are single steps of 1.25 ε from a random start (Wong et al., 2020).
    Raises ValueError, one line, for a value that is not allowed, for a training on fewer images than the tier's (and at the tier
    long of fewer epochs), for a weight of the adversarial loss that is not the method's, and for an attack that goes nowhere.
    """
    few_epochs = dict(mix="either", steps=1, step_size=10.0, shape="triangle", milestones=(), lr=0.05, noise_start=0.3,
                      noise_lr=0.01, precision="bf16")
    tiers = {
        "paper": dict(precision="bf16", clip=0.05, summed=True),
        "fast": dict(epochs=40, **few_epochs | dict(mix="both", steps=7, step_size=2.0, lr=0.1)),
        "long": dict(epochs=40, **few_epochs | dict(steps=7, step_size=2.0, lr=0.1)),
        "cpu": dict(epochs=8, batch_size=128, **few_epochs),
        "smoke": dict(epochs=2, batch_size=50, split="sample-train", images=250, **few_epochs | dict(precision="fp32")),
    }
    if not isinstance(tier, str) or tier not in tiers:
        raise ValueError(f"tier {tier!r} has no schedule; there are {', '.join(tiers)}")
    if tier in runs.REPRODUCTIONS and changes:
        raise ValueError(f"tier {tier!r} may be compared with the paper's numbers and so takes no changes; given: {', '.join(changes)}")
    if tier != "smoke" and changes.get("split") == "sample-train":
        raise ValueError(f"split = 'sample-train' is not allowed at tier {tier!r}: to train on the shipped sample give tier smoke")
    fields = dict(tier=tier, **tiers[tier])
    if tier == "fast" and variant == "PNI-W":
        fields |= dict(noise_start=1.0)
    if method == "plain":
        fields |= dict(weight=0.0, mix="both", clip=0.0, summed=False)  # it attacks nothing, and the authors clip it nowhere
    if method == "epgd":
        fields |= dict(samples=8)
    if method in ("gauss", "epgd"):
        # The paper says "up to 200 epochs" and not at what rate. At tier paper it is what the authors' code most likely took, below it a
        # tenth of the base model's, at cpu and smoke a fifth.
        epochs = {"paper": 200, "fast": 20, "long": 5, "cpu": 3, "smoke": 1}[tier]
        fields |= dict(lr=0.1 if tier == "paper" else 0.01, epochs=epochs, milestones=())
    _refuse_unknown(changes, [name for name in Schedule.__dataclass_fields__ if name != "tier"])
    plan = Schedule(**(fields | changes))
    # A record of such a tier stands for a network of its kind: a toy would take that one's name and its place in the tables.
    if tier != "smoke" and plan.images is not None and plan.images < ALL:
        raise ValueError(f"images = {plan.images!r} is not allowed at tier {tier!r}, which trains on all {ALL:,}: give tier smoke")
    if tier == "long" and plan.epochs < fields["epochs"]:
        raise ValueError(f"epochs = {plan.epochs!r} is not allowed at tier 'long': give {fields['epochs']} or more, or tier cpu or smoke")
    if (plan.weight == 0) != (method == "plain"):
        allowed = "give 0, as plain training attacks nothing" if method == "plain" else "give a number above 0 and at most 1"
        raise ValueError(f"weight = {plan.weight!r} is not allowed with method {method!r}: {allowed}")
    for name in ("epsilon", "step_size", "steps") if plan.weight > 0 else ():
        if getattr(plan, name) == 0:
            raise ValueError(f"{name} = 0 is not allowed with method {method!r}, which attacks: give more than 0")
    return plan


def _refuse_unknown(names, allowed):
    for name in names:
        if name not in allowed:
            raise ValueError(f"schedule field {name!r} is not one of {', '.join(allowed)}")


def requested(variant, method, tier, rank, start, sigma, seeds, changes, device="cpu", checkpoints=CHECKPOINTS, results=RESULTS):
    """The `runs.TrainingRun`s of a notebook's parameters, one per seed, all checked; `start` names a checkpoint, or one that
    only the record of its training is here of.

    Raises ValueError or FileNotFoundError, one line, for a value that is not allowed, and as `models.known` does for `start`.
    """
    if not isinstance(changes, dict) or not all(isinstance(name, str) for name in changes):
        raise ValueError(f"changes = {changes!r} is not allowed: give fields of the schedule, {{name: value}}")
    runs.one_of("variant", variant, runs.VARIANTS)
    runs.one_of("method", method, runs.METHODS)
    plan, origin = schedule(tier, method, variant, **changes), None
    runs.refuse_start(start, method)  # as it was typed: a run knows its digest alone
    runs.several("seeds", seeds)
    available(device)
    if start is not None:
        of, said = runs.TIERS.index, models.known(start, checkpoints, results)
        origin = said["digest"]
        if said["variant"] != variant or variant.startswith("CPNI") and int(said["rank"]) != runs.whole("rank", rank, 0):
            raise ValueError(f"start {start!r} is a {said['variant']} of rank {said['rank']}, not {variant} of rank {rank}")
        if of(said["tier"]) < of(tier):
            raise ValueError(f"start {start!r} is of tier {said['tier']}: fine-tuned, it is not a network of tier {tier!r}")
    asked = [runs.TrainingRun(variant, method, fields_of(plan), rank, origin, sigma, seed) for seed in seeds]
    return list({run.id: run for run in asked}.values())


def ready(asked, checkpoints=CHECKPOINTS, results=RESULTS):
    """Raise FileExistsError, one line, if a checkpoint that one of the unfinished runs `asked` would write is another run's, or
    FileNotFoundError if the one that it starts from is not here."""
    for run in asked:
        if not runs.finished(run, results):
            refuse_to_overwrite(run, checkpoints, results)
            if run.start is not None:
                models.find(run.start, checkpoints, results)


def learning_rate(plan, progress):
    """The learning rate after `progress` epochs (a fraction counts steps within an epoch)."""
    if plan.shape == "steps":
        return plan.lr * 0.1 ** sum(progress >= milestone for milestone in plan.milestones)
    done = progress / plan.epochs
    return plan.lr * (done / 0.25 if done < 0.25 else (1 - done) / 0.75)


def attack_of(plan, folded):
    """The schedule's attack on the network that `folded` is the fast form of: (x, y) -> adversarial pixels.

    BatchNorm's statistics are frozen and the noise is on, as in the authors' code.
    """
    size = dict(epsilon=plan.epsilon / 255, step_size=plan.step_size / 255)

    def attack(x, y):
        folded.refresh()
        with autocast(x.device, plan.precision):
            return pgd(error_of(folded, y), x, steps=plan.steps, samples=plan.samples, summed=plan.summed, **size)

    return attack


def batches(plan, x, y, attack):
    """What one update sees: (weight of its loss, pixels [N, 3, 32, 32], which of them are attacked [N]), pass by pass.

    The passes of "both" are separate, as in the authors' code: each sees its own BatchNorm statistics and noise. With w = 1 the
    clean pass has no part in the gradient, and is made for BatchNorm's running statistics and the clean accuracy alone.
    """
    if plan.mix == "either":
        attacked = torch.rand(len(y), device=x.device) < plan.weight
        if attacked.any():
            x = x.index_put((attacked,), attack(x[attacked], y[attacked]))
        return [(1.0, x, attacked)]
    everywhere = torch.ones_like(y, dtype=torch.bool)
    passes = [(1 - plan.weight, x, ~everywhere)]
    if plan.weight > 0:
        passes.append((plan.weight, attack(x, y), everywhere))
    return passes


def heldout_images(plan, device):
    """The training images (uint8) and labels that a schedule does not train on.

    The smoke tier, which needs no download, holds out the last training images of the shipped sample.
    """
    if plan.split == "train":
        return images("heldout", device=device)
    return [part[SAMPLE_TRAINING:] for part in images("sample-train", device=device)]


def heldout_counts(folded, plan, heldout, *key):
    """What one noisy pass gets right of `heldout_images`: {"n", "clean", "adversarial" (PGD-7 of ε/4)}."""
    attack = attack_of(replace(plan, epsilon=8.0, steps=7, step_size=2.0, samples=1, summed=False), folded)
    counts = dict(n=0, clean=0, adversarial=0)
    with seeded(*key, "heldout"):
        for x, y in zip(*(part.split(500) for part in heldout)):
            x = pixels(x)
            counts["n"] += len(y)
            for name, seen in (("adversarial", attack(x, y)), ("clean", x)):
                with torch.no_grad(), autocast(x.device, plan.precision):
                    counts[name] += int((folded(seen).argmax(1) == y).sum())
    return counts


# The running sums of an epoch: of the loss over images, and of right and of all images, clean and adversarial.
SUMS = ("loss", "seen", "clean", "clean seen", "adversarial", "adversarial seen")


class State:
    """Everything a training needs to go on: weights, momentum, position, running sums, history, best and worst epoch.

    provenance: where and with what it is made (`runs.provenance`); after `restore`, that of its parts (`runs.going_on`).
    """

    def __init__(self, model, optimiser, path, provenance):
        self.model, self.optimiser, self.path, self.provenance = model, optimiser, Path(path), provenance
        self.position = dict(epoch=0, step=0, seconds=0.0, history=[])
        self.sums = torch.zeros(len(SUMS), dtype=torch.float64, device=next(model.parameters()).device)
        self.kept = {}  # "best" and "worst": weights of the epochs chosen by clean held-out accuracy
        self.saved = time.perf_counter()

    def means(self):
        """Mean loss and accuracies of the epoch so far; accuracies of kinds not seen are left out."""
        at = dict(zip(SUMS, self.sums.tolist()))
        means = {"loss": at["loss"] / at["seen"]}
        means |= {name: at[name] / at[f"{name} seen"] for name in ("clean", "adversarial") if at[f"{name} seen"]}
        return {name: round(value, 6) for name, value in means.items()}

    def keep(self, name, better):
        """Keep this epoch's weights as `name` if its clean held-out accuracy compares `better` to the kept one's."""
        history = self.position["history"]
        chosen = self.position.get(name)
        now = history[-1]["heldout"]["clean"]
        if chosen is None or better(now, history[chosen - 1]["heldout"]["clean"]):
            self.position[name] = len(history)
            self.kept[name] = copy.deepcopy(self.model.state_dict())

    def diverged(self):
        """The ValueError, one line, that says so."""
        epoch, lr = self.position["epoch"] + 1, float(self.optimiser.param_groups[0]["lr"])
        return ValueError(f"training {self.path.stem}: in epoch {epoch}, at lr = {lr:.3g}, its loss or weights are no longer "
                          "finite: give a lower lr")

    def refuse_infinite(self):
        """Raise `diverged` where the loss or a weight is not finite any more. Waits for the device."""
        if not torch.stack([value.isfinite().all() for value in (self.sums, *self.model.state_dict().values())]).all():
            raise self.diverged()

    def save(self, after=0.0):
        """Write all of it, unless the last time was less than `after` seconds ago.

        What is not finite is refused, not written: the file stays one from which the training can go on.
        """
        if time.perf_counter() - self.saved < after:
            return
        self.refuse_infinite()
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        for name, weights in self.kept.items():
            tensors |= {f"{name}/{key}": value for key, value in weights.items()}
        for name, parameter in self.model.named_parameters():
            tensors[f"momentum/{name}"] = self.optimiser.state[parameter]["momentum_buffer"]
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        with writing(self.path) as part:
            save_file(tensors, part, {"position": json.dumps(self.position | {"sums": self.sums.tolist()}),
                                      "provenance": json.dumps(self.provenance)})
        self.saved = time.perf_counter()

    def restore(self, epochs, steps):
        """Go back to what was saved last; without a file, stay at the start.

        epochs, steps: how many the training has, and each of its epochs.
        Raises ValueError, one line that names the file, for what is no state of such a training, or one from another kind of device.
        """
        if not self.path.exists():
            return
        device = next(self.model.parameters()).device
        try:
            with safe_open(self.path, "pt", device=str(device)) as file:
                groups = {}
                for name in file.keys():
                    group, key = name.split("/", 1)
                    groups.setdefault(group, {})[key] = file.get_tensor(name)
                self.position, found = (json.loads(file.metadata()[name]) for name in ("position", "provenance"))
            self.sums.copy_(torch.tensor(self.position.pop("sums"), dtype=torch.float64))
            epoch, step = (runs.whole(name, self.position[name], 0) for name in ("epoch", "step"))
            if len(self.position["history"]) != epoch or (self.sums[1] > 0) != (step > 0):
                raise ValueError("its history or sums do not fit its position")
            if epoch > epochs or step > (steps if epoch < epochs else 0):
                raise ValueError(f"its position, epoch {epoch} and step {step}, is beyond {epochs} epochs of {steps} steps")
            self.model.load_state_dict(groups.pop("model"))
            momentum = groups.pop("momentum")
            kept = ["best", "worst"] if epoch else []
            fits = kept == sorted(groups) == sorted({"best", "worst"} & set(self.position))
            if not fits or any(runs.whole(name, self.position[name], 1) > epoch for name in kept):
                raise ValueError("its best and worst epoch do not fit its history")
            for name in kept:
                models.refuse_unfit(groups[name], self.model, name)
            for name, parameter in self.model.named_parameters():
                self.optimiser.state[parameter]["momentum_buffer"].copy_(momentum[name])
            if not isinstance(found["device"], str):
                raise ValueError("it does not say on what device")
        except torch.OutOfMemoryError:  # a RuntimeError, as a shape that does not fit is, but it says nothing about the file
            raise
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise ValueError(f"{self.path}: not a training state, or one of an older version ({why}): remove it to begin again") from error
        self.provenance = runs.going_on(self.path, found, self.provenance)
        self.kept = groups


def checkpoints_of(run):
    """What a training leaves: "best" and "worst" epoch -> (the checkpoint's name, the paper's name of the base model).

    Chosen by clean accuracy on the held-out images; the paper chose on the test images. EPGD fine-tuning leaves
    two: its best epoch, "converged", and its worst, "diverged".
    """
    unlike = run.variant.startswith("CPNI") and run.rank != 5  # the paper's have rank 5
    base = run.variant + (f" r={run.rank}" if unlike else "")
    base += f" σ={run.sigma:g}" if run.sigma and run.method != "gauss" else ""
    of = "" if base == "CPNI-W" else f" of {base}"  # and its fine-tuned models start from CPNI-W
    labels = {
        "gauss": {"best": f"Gauss{of}"},
        "epgd": {"best": f"EPGD-converged{of}", "worst": f"EPGD-diverged{of}"},
    }.get(run.method, {"best": base})
    unusual = "adversarial" if run.variant == "plain" else "plain"
    more = f"-{run.method}" if run.method == unusual else ""
    more += f"-{run.schedule['tier']}-{run.seed}"
    return {key: (re.sub("[^a-z0-9]+", "-", f"{label}{more}".lower().replace("σ", "sigma")), label) for key, label in labels.items()}


def refuse_to_overwrite(run, checkpoints, results):
    """Raise FileExistsError, one line, if a checkpoint that `run` would write is there already, or on record, made by another run.

    A network that does not ship is known by its record alone: another of its name would take its place wherever it is named.
    """
    for name, _ in checkpoints_of(run).values():
        path = models.place(name, checkpoints)
        makers = [kept["id"] for kept in runs.trained_as(name, results)]
        makers += [models.about(path).get("run", "which it does not name")] if path.exists() else []
        if others := [maker for maker in makers if maker != run.id]:
            raise FileExistsError(f"{path.name} was made by another run, {others[0]}: to train {run.id} give another seed, or name another "
                                  "folder in SIAM_DATA (workflow/README.md)")


def sgd(plan, model):
    """The optimiser; its parameters' learning rates are tensors and its momentum is there from the start (zero, which
    changes nothing), so that a captured step can use both."""
    named, device = list(model.named_parameters()), next(model.parameters()).device
    groups = [
        dict(params=[p for name, p in named if ("noise." in name) == noise], factor=factor,
             lr=torch.tensor(float(plan.lr), device=device))
        for noise, factor in ((False, 1.0), (True, plan.noise_lr))
    ]
    optimiser = torch.optim.SGD([group for group in groups if group["params"]], momentum=plan.momentum,
                                weight_decay=plan.weight_decay, nesterov=True, fused=True)
    for _, parameter in named:
        optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


def update_of(plan, model, optimiser, x_all, y_all, sums):
    """One update of the weights: (indices of a batch) -> None, adds to the running `sums` (see SUMS).

    Everything stays on the device, and with mix "both" nothing waits for it in a graph; called as it is, the attack looks at its numbers.
    """
    attack = attack_of(plan, Folded(model))

    def update(indices):
        x, y = pixels(crop_and_flip(x_all[indices])), y_all[indices]
        optimiser.zero_grad(set_to_none=True)
        for weight, seen, attacked in batches(plan, x, y, attack):
            with autocast(x.device, plan.precision):
                logits = model(seen).float()
            loss = weight * cross_entropy(logits, y)
            loss.backward()
            right = logits.detach().argmax(1) == y
            counted = torch.stack([right & ~attacked, ~attacked, right & attacked, attacked]).sum(1)
            sums[0] += loss.detach() * len(y)
            sums[2:] += counted
        sums[1] += len(y)
        if plan.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
        optimiser.step()

    # Which images "either" attacks differs from step to step, and with it the shapes: no graph can hold that.
    return captured(update) if plan.mix == "both" else update


def train(run, device="cpu", checkpoints=CHECKPOINTS, results=RESULTS, save_after=10.0, progress=True):
    """Carry out a `runs.TrainingRun`: writes its checkpoints and its record, and returns the record.

    A finished run is refused (FileExistsError), and one whose checkpoint's name another run has taken. A cut-off one goes on from its
    last saved step, at most `save_after` seconds and a step back, to bit-equal weights on the same CPU with as many threads;
    where an earlier part was made with something else, the record's `begun` says so. Raises ValueError, one line, where
    that was another kind of device, for one that is not to be had, for a field of the schedule that there is not, where another
    process does the run, and where the loss or a weight is no longer finite: then nothing is left but the last saved step before.
    Raises FileNotFoundError where the checkpoint that it starts from is not here (`models.find`) or CIFAR-10 has not been fetched.
    """
    available(device)
    path = Path(checkpoints) / ".partial" / f"{run.id}.safetensors"
    with alone(path):
        if runs.finished(run, results):  # asked here, as another process may have finished it a moment ago
            raise FileExistsError(f"training {run.id} is finished: {runs.record_path(run, results)}")
        refuse_to_overwrite(run, checkpoints, results)
        return _train(run, path, device, Path(checkpoints), results, save_after, progress)


def _noise(model):
    """`export.noise` of a model, to four digits."""
    tensors = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    return [[round(number, 4) for number in of] for of in export.noise(tensors)]


def _train(run, path, device, checkpoints, results, save_after, progress):
    _refuse_unknown(run.schedule, list(Schedule.__dataclass_fields__))
    plan = Schedule(**run.schedule)
    with seeded(run.seed, "initial"):
        model = models.classifier(run.variant, run.rank, run.sigma)
    if run.start is not None:
        model.load_state_dict(models.load(models.find(run.start, checkpoints, results), run.sigma).state_dict())
    elif plan.noise_start != 1:
        with seeded(run.seed, "soften"):
            soften(model, plan.noise_start)
    model.to(device)
    (x_all, y_all), heldout = images(plan.split, plan.images, device), heldout_images(plan, device)
    optimiser = sgd(plan, model)
    state = State(model, optimiser, path, runs.provenance(describe(device)))
    steps = math.ceil(len(y_all) / plan.batch_size)
    state.restore(plan.epochs, steps)
    at = state.position
    update, folded = update_of(plan, model, optimiser, x_all, y_all, state.sums), Folded(model)
    title, shown = f"{run.variant} {run.method} seed {run.seed}", time.perf_counter()
    with tqdm(total=plan.epochs * steps, initial=at["epoch"] * steps + at["step"], desc=title,
              disable=not progress, mininterval=5, smoothing=0.05) as bar:
        while at["epoch"] < plan.epochs:
            epoch, began = at["epoch"], time.perf_counter()
            model.train()
            with seeded(run.seed, "order", epoch):
                order = torch.randperm(len(y_all)).to(device)
            for step in range(at["step"], steps):
                seed(run.seed, "step", epoch, step)
                for group in optimiser.param_groups:
                    group["lr"].fill_(group["factor"] * learning_rate(plan, epoch + step / steps))
                try:
                    update(order[step * plan.batch_size :][: plan.batch_size])
                except NotFinite:  # the attack's gradient, of weights that may be finite still
                    raise state.diverged() from None
                at["step"] = step + 1
                bar.update()
                now = time.perf_counter()
                at["seconds"], began = at["seconds"] + now - began, now
                if now - shown > 5:  # reading the sums waits for the device
                    shown = now
                    bar.set_postfix(epoch=epoch + 1, **{k: f"{v:.3f}" for k, v in state.means().items()}, refresh=False)
                state.save(save_after)
            state.refuse_infinite()
            counts, means = heldout_counts(folded, plan, heldout, run.seed, epoch), state.means()
            at["seconds"] += time.perf_counter() - began
            at["history"].append(dict(epoch=epoch + 1, lr=round(learning_rate(plan, epoch), 6), **means,
                                      heldout=counts, seconds=round(at["seconds"], 1)))
            at.update(epoch=epoch + 1, step=0, seconds=0.0)
            state.sums.zero_()
            state.keep("best", lambda now, kept: now > kept)
            state.keep("worst", lambda now, kept: now < kept)
            state.save(save_after)

    return _finish(run, plan, state, checkpoints, results)


def _finish(run, plan, state, checkpoints, results):
    """Write the checkpoints of a training that has all its epochs, then its record, and return that."""
    refuse_to_overwrite(run, checkpoints, results)  # again: hours have passed
    model, history, saved = state.model, state.position["history"], []
    about = dict(tier=plan.tier, variant=run.variant, rank=run.rank, sigma=run.sigma, run=run.id)
    for key, (name, label) in checkpoints_of(run).items():
        model.load_state_dict(state.kept[key])
        epoch, path = state.position[key], models.place(name, checkpoints)
        models.save(model, path, label=label, epoch=epoch, **about)
        saved.append(dict(name=name, label=label, digest=runs.digest(path), epoch=epoch,
                          heldout=history[epoch - 1]["heldout"], noise=_noise(model)))
    seconds = round(sum(epoch["seconds"] for epoch in history), 1)
    record = runs.record(run, tier=plan.tier, checkpoints=saved, history=history, seconds=seconds, **state.provenance)
    runs.write(record, results)
    state.path.unlink(missing_ok=True)
    return record
