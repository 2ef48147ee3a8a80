"""How fast training and evaluation are: ladders from plain eager code to this package's, beside the floors.

    OMP_NUM_THREADS=1 python benchmarks/throughput.py
    python benchmarks/throughput.py --device cuda --rounds 25

Each rung of a ladder adds one thing to those above it. In a round every rung and every yardstick is timed once, in
random order; ratios are taken within rounds, so that what else the machine does falls on all alike. A single CPU
thread is timed by the processor time it had, everything else by the wall.
"""

import argparse
import copy
import os
import random
import re
import sys
import time
import traceback
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from siam import models, runs, training
from siam.attacks import error_of, gradient
from siam.data import crop_and_flip, images, pixels
from siam.devices import autocast, available, describe, slow_bf16
from siam.folding import Folded
from siam.graphs import without_graphs
from siam.noise import soften
from siam.pages import speed
from siam.paths import RESULTS
from siam.seeding import seed, seeded
from siam.smoothing import tally

SIZES = {  # images of a work, and passes M of the tally; side of the matrix product
    "cuda": dict(training=256, step=0, tally=1000, M=16, epgd=1000, side=8192),
    "cpu": dict(training=64, step=128, tally=250, M=2, epgd=32, side=2048),
    "quick": dict(training=8, step=8, tally=8, M=2, epgd=1, side=128),
}
STRICT = "fp32 instead of TF32, and the same sums each time"  # a rung on a GPU: it costs time
SIGMA = 0.24  # of the input noise in evaluation, normalised units
# How far a rung's result may be from the first one's, relative to it. Rounding (bf16, and TF32 on a GPU) takes some
# units across the rectifier's kink, which moves a gradient by a third; an unrelated one would be 1.4 away.
TOLERANCE = dict(training=0.02, step=0.02, tally=0.02, epgd=0.5)


# --- plain eager code: the first rungs ----------------------------------------------------------------------


def wasteful_gradient(model, x, y, samples=1):
    """∇ₓ as most published code takes it: with the weights' gradients, which nobody asked for."""
    total = 0
    for _ in range(samples):
        leaf = x.clone().requires_grad_()
        cross_entropy(model(leaf), y, reduction="sum").backward()
        total = total + leaf.grad
    model.zero_grad()
    return total / samples


def input_gradient(model, x, y, samples=1):
    return gradient(error_of(model, y), x, samples)


def eager_attack(plan, model, slope):
    """PGD as the schedule has it: (x, y) -> adversarial pixels. slope: one of the two gradients above."""

    def attack(x, y):
        model.eval()
        low, high = (x - plan.epsilon / 255).clamp_min(0), (x + plan.epsilon / 255).clamp_max(1)
        adversarial = (x + plan.epsilon / 255 * (2 * torch.rand_like(x) - 1)).clamp(low, high)
        for _ in range(plan.steps):
            adversarial = (adversarial + plan.step_size / 255 * slope(model, adversarial, y).sign()).clamp(low, high)
        model.train()
        return adversarial

    return attack


def eager_step(plan, model, attack, x_all, y_all):
    """A training step: () -> its loss, for which it waits."""
    optimiser = torch.optim.SGD(model.parameters(), plan.lr, plan.momentum, weight_decay=plan.weight_decay, nesterov=True)

    def step():
        total, x = 0.0, pixels(crop_and_flip(x_all))
        optimiser.zero_grad()
        for weight, seen, _ in training.batches(plan, x, y_all, attack):
            loss = weight * cross_entropy(model(seen), y_all)
            loss.backward()
            total += loss.item()
        optimiser.step()
        return torch.tensor(total)

    return step


def eager_votes(model, x, y, M):
    """The mean softmax [N, 10] of M passes, counting what each gets right."""
    total, right = 0, 0
    with torch.no_grad():
        for _ in range(M):
            logits = model(x)
            right += int((logits.argmax(1) == y).sum())
            total = total + logits.softmax(1)
    return total / M


def as_torch_comes(function, device):
    """`function` under cuDNN's settings as published code has them: on a GPU TF32 for fp32, and any algorithm. `siam.devices`
    has turned both off."""
    if device.type != "cuda":
        return function

    def call():
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=True):
            return function()

    return call


# --- the ladders: {name of a rung: (its network, a function without arguments)} -----------------------------


def package_step(plan, model, x_all, y_all, graph=False):
    """`siam.training`'s step: () -> its loss, still on the device. On CUDA a graph only if asked for."""
    sums = torch.zeros(len(training.SUMS), dtype=torch.float64, device=x_all.device)
    indices = torch.arange(len(y_all), device=x_all.device)
    with nullcontext() if graph else patch.object(training, "captured", lambda function: function):
        update = training.update_of(plan, model, training.sgd(plan, model), x_all, y_all, sums)

    def step():
        sums.zero_()
        update(indices)
        return sums[0] / sums[1]

    return step


def training_ladder(plan, prototype, x, y):
    fp32, bf16 = (replace(plan, precision=precision) for precision in ("fp32", "bf16"))
    ladder = {}

    def add(name, step):
        model = copy.deepcopy(prototype).train()
        ladder[name] = model, step(model)

    def eager(model):
        return eager_step(fp32, model, eager_attack(fp32, model, wasteful_gradient), x, y)

    add("plain eager", lambda model: as_torch_comes(eager(model), x.device))
    if x.is_cuda:
        add(STRICT, eager)
    add("in the attack the input's gradient alone",
        lambda model: eager_step(fp32, model, eager_attack(fp32, model, input_gradient), x, y))
    add("in the attack BatchNorm folded, one draw for all noise, fused layers",
        lambda model: eager_step(fp32, model, training.attack_of(fp32, Folded(model)), x, y))
    add("nothing waits, fused optimiser", lambda model: package_step(fp32, model, x, y))
    add("bf16", lambda model: package_step(bf16, model, x, y))
    if x.is_cuda and not without_graphs():
        add("CUDA graph", lambda model: package_step(bf16, model, x, y, graph=True))
    return ladder


def evaluation_ladder(prototype, x, y, eager, second, ours):
    """eager, ours: (network, x, y) -> result; `second` names the rung of `ours` on the plain network."""
    ladder = {}
    for name, work in (("plain eager", eager), (STRICT, eager), (second, ours)):
        if name == STRICT and not x.is_cuda:
            continue
        model = copy.deepcopy(prototype).eval()

        def unfolded(model=model, work=work):
            return work(model, x, y)

        ladder[name] = model, as_torch_comes(unfolded, x.device) if name == "plain eager" else unfolded
    for name, precision in (("BatchNorm folded, one draw for all noise, fused layers", "fp32"), ("bf16", "bf16")):
        model = copy.deepcopy(prototype).eval()

        def rung(folded=Folded(model), precision=precision):
            folded.refresh()  # `differences` mutes the noise, and takes it back
            with autocast(x.device, precision):
                return ours(folded, x, y)

        ladder[name] = model, rung
    for model, _ in ladder.values():
        model.input_noise.fixed = SIGMA
    return ladder


def works_of(prototype, device, sizes):
    """{key: dict(title, units (images, or images × passes), passes (what a unit is worth), ladder)}."""
    x_all, y_all = images("sample-test", device=device)
    works, M = {}, sizes["M"]

    def sample(n):  # the shipped images, over and over
        chosen = torch.arange(n, device=device) % len(y_all)
        return x_all[chosen], y_all[chosen]

    def evaluated(n, *rest):
        x, y = sample(n)
        return evaluation_ladder(prototype, pixels(x), y, *rest)

    titles = {"training": ("paper", "A step of PGD-7 adversarial training of CPNI-W (both losses)"),
              "step": ("cpu", "A step of the cpu tier's training (FGSM on half of the images)")}
    for key, (tier, title) in titles.items():
        if sizes[key]:
            # The learning rate is of no matter to speed; a small one keeps the loss finite over all rounds. Sums of gradients and their
            # clipping, which the authors' code has and other PGD training has not, are in none of the rungs.
            plan = replace(training.schedule(tier, "adversarial"), lr=1e-3, summed=False, clip=0.0)
            works[key] = dict(title=f"{title}, {sizes[key]} images", units=sizes[key], passes=passes_of(plan),
                              ladder=training_ladder(plan, prototype, *sample(sizes[key])))
    works["tally"] = dict(
        title=f"{M} noisy passes of CPNI-W over {sizes['tally']:,} images", units=sizes["tally"] * M, passes=1,
        ladder=evaluated(sizes["tally"], lambda model, x, y: eager_votes(model, x, y, M),
                         "a tally for every M and rule", lambda model, x, y: tally(model, x, M, (0,)).softmax[-1] / M),
    )
    works["epgd"] = dict(
        title=f"A gradient of EPGD, 8 draws of the noise, {sizes['epgd']:,} images", units=sizes["epgd"], passes=8 * 2,
        ladder=evaluated(sizes["epgd"], lambda model, x, y: wasteful_gradient(model, x, y, 8),
                         "the input's gradient alone", lambda model, x, y: input_gradient(model, x, y, 8)),
    )
    return works


def differences(prototype, key, ladder, device):
    """How far each rung's result is from the first one's, relative to it: noise muted, the rest drawn alike.

    Raises ValueError where that is too far: such rungs do not do the same work.
    """
    found, first = {}, None
    for name, (model, rung) in ladder.items():
        sigma, model.input_noise.fixed = model.input_noise.fixed, 0.0
        for _ in range(5 if device.type == "cuda" else 1):  # the fourth call captures the graph
            model.load_state_dict(prototype.state_dict())
            soften(model, 0.0)
            seed("throughput")
            result = rung().detach().double().cpu()
        model.load_state_dict(prototype.state_dict())
        model.input_noise.fixed = sigma
        first = result if first is None else first
        found[name] = float((result - first).norm() / first.norm())
        if not found[name] <= TOLERANCE[key]:
            raise ValueError(f"{key}: the rung {name!r} is {found[name]:.1%} away from plain eager code")
    return found


# --- the floors ---------------------------------------------------------------------------------------------


def cost(model):
    """(multiply-adds, numbers that layers read and write) of one pass of one image, counted from the layers."""
    counts = []

    def count(layer, inputs, output):
        counts.append((output.numel() * layer.weight[0].numel(), inputs[0].numel() + output.numel()))

    counted = copy.deepcopy(model).eval()
    for layer in counted.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        counted(torch.zeros(1, 3, 32, 32, device=model.mean.device))
    return tuple(map(sum, zip(*counts)))


def passes_of(plan):
    """Passes that a training step is worth, per image: a gradient to the layers' inputs costs what a forward pass
    costs, in arithmetic and in traffic, and so does one to their weights."""
    attack = 2 * plan.steps * plan.samples
    return attack + 2 * 3 if plan.mix == "both" else plan.weight * attack + 3


def floor(work, rates, multiply_adds, moved):
    """The least seconds of a work, layer by layer, at FLOP/s in "fp32" and "bf16" (a multiply-add is 2 FLOP) and,
    where there is one, bytes/s of "copy" (a CPU's caches hold what a GPU has to move)."""
    faster, size = max(("fp32", 4), ("bf16", 2), key=lambda one: rates[one[0]])
    traffic = moved * size / rates["copy"] if "copy" in rates else 0
    return work["units"] * work["passes"] * max(2 * multiply_adds / rates[faster], traffic)


def yardsticks(device, side):
    """{name of a rate: (a function, the FLOP or bytes of its call)}."""
    sticks = {}
    # In bf16 several products, or a smaller one, to last as long: a short call slips through between other users of a busy core.
    rounded = (1, side // 4) if device.type == "cpu" and slow_bf16() else (8, side)
    for name, kind, times, n in (("fp32", torch.float32, 1, side), ("bf16", torch.bfloat16, *rounded)):
        a, b = (torch.randn(n, n, device=device).to(kind) for _ in range(2))

        def products(a=a, b=b, c=torch.empty_like(a), times=times):
            for _ in range(times):
                torch.mm(a, b, out=c)

        sticks[name] = products, times * 2 * n**3
    if device.type == "cuda":
        source = torch.zeros(2**28, device=device)
        sticks["copy"] = (lambda target=torch.empty_like(source): target.copy_(source)), 2 * source.nbytes
    return sticks


# --- measuring ----------------------------------------------------------------------------------------------


def clock_of(device):
    """The clock of a device, "wall" or "process": a single thread's own time leaves out when others had the core."""
    return "process" if device.type == "cpu" and torch.get_num_threads() == 1 else "wall"


def timed(function, device):
    """Seconds of one call, until the device has done all of it."""
    now = time.process_time if clock_of(device) == "process" else time.perf_counter
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda device: None
    wait(device)
    began = now()
    function()
    wait(device)
    return now() - began


def spread(values):
    low, median, high = map(float, np.percentile(values, (25, 50, 75)))
    return dict(median=median, low=low, high=high)


def measure(device, rounds, sizes):
    """All that a record says of the measurement."""
    prototype = models.classifier("CPNI-W").to(device)
    soften(prototype, 0.3)
    for _ in range(10):  # until BatchNorm's statistics belong to the weights
        prototype(pixels(images("sample-test", 32, device)[0]))
    works, sticks = works_of(prototype, device, sizes), yardsticks(device, sizes["side"])
    differs = {key: differences(prototype, key, work["ladder"], device) for key, work in works.items()}
    for function, _ in sticks.values():
        function()
    # A rung and a yardstick may share a name ("bf16"): two tables.
    took = {key: {name: [] for name in work["ladder"]} for key, work in works.items()}
    beside = {key: {name: [] for name in sticks} for key in works}
    order, before = random.Random(0), os.getloadavg()
    for _ in tqdm(range(rounds), desc="rounds"):
        for key in order.sample([*works], len(works)):
            calls = [(beside[key][name], call) for name, (call, _) in sticks.items()]
            calls += [(took[key][name], call) for name, (_, call) in works[key]["ladder"].items()]
            for seconds, call in order.sample(calls, len(calls)):
                seconds.append(timed(call, device))
    multiply_adds, moved = cost(prototype)
    lines, rates = [], {name: [] for name in sticks}
    for key, work in works.items():
        seconds = {name: np.array(values) for name, values in took[key].items()}
        here = [{name: size / beside[key][name][i] for name, (_, size) in sticks.items()} for i in range(rounds)]
        floors = np.array([floor(work, now, multiply_adds, moved) for now in here])
        for name in rates:
            rates[name] += [now[name] for now in here]
        rungs = [dict(name=name, rounds=took[key][name], seconds=spread(seconds[name]), differs=differs[key][name],
                      faster=spread(seconds["plain eager"] / seconds[name]), share=spread(floors / seconds[name]))
                 for name in work["ladder"]]
        about = {name: work[name] for name in ("title", "units", "passes")}
        lines.append(dict(key=key, **about, floor=spread(floors), yardsticks=beside[key], rungs=rungs))
    return dict(rounds=rounds, works=lines, rates={name: spread(found) for name, found in rates.items()}, sizes=sizes,
                clock=clock_of(device), load=dict(before=before, after=os.getloadavg()), cores=os.cpu_count(),
                threads=torch.get_num_threads(), multiply_adds=multiply_adds, moved=moved)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu (the default), cuda, cuda:1, …")
    parser.add_argument("--rounds", type=int, default=9, help="how often each rung is timed (default: 9)")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER",
                        help="the record is FOLDER/throughput/<device>.json (default: where the book reads)")
    parser.add_argument("--replace", action="store_true", help="overwrite the record of this device")
    parser.add_argument("--quick", action="store_true", help="only try it, on a handful of images; needs --results")
    asked = parser.parse_args(arguments)
    try:
        if asked.rounds < 1:
            raise ValueError(f"rounds = {asked.rounds} is not allowed: give a whole number, 1 or more")
        if asked.quick and asked.results.resolve() == RESULTS.resolve():
            raise ValueError("a quick run measures nothing worth a page: give --results another folder")
        available(asked.device)
        device = torch.device(asked.device)
        provenance = runs.provenance(describe(device))
        slug = re.sub("[^a-z0-9]+", "-", provenance["device"].lower()).strip("-")
        path = asked.results / "throughput" / f"{slug}.json"
        if path.exists() and not asked.replace:
            raise FileExistsError(f"{path.name} is there already: give --replace to overwrite it")
        with seeded("throughput"), torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            found = measure(device, asked.rounds, SIZES["quick" if asked.quick else device.type])
        runs.write_json(path, found | provenance | dict(kind="throughput", quick=asked.quick))
    except RuntimeError as error:  # torch's, whose first line seldom says where
        traceback.print_exc()
        sys.exit(f"error: {str(error).splitlines()[0]}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {str(error).splitlines()[0]}")
    print(speed.throughput(asked.results), speed.aims(asked.results), path, sep="\n")


if __name__ == "__main__":
    main()
