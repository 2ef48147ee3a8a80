"""Section 3.4, carried out: noise and attack on a linear SVM, and what noise does to the gradient of a real network.

    python -m siam.svm

fits the SVM, takes the gradients, and writes one record, `RECORD`. What reads the record needs no torch.

The SVM is f(x) = w · x + b on pixels x in [0, 1], labels y = ±1; m = y f(x) is an image's margin. The attack moves every
pixel by at most ε, the noise is Gaussian with standard deviation s in PIXEL units (the paper's σ = 0.24 in normalised
units is about 0.06 of the pixel range). With e = ε ‖w‖₁ and t = s ‖w‖₂ everything of eqs. (13) to (15) is a function of m.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import ndtr

from siam import runs
from siam.cifar10 import PIXEL_STD
from siam.files import command, read_other
from siam.paths import CHECKPOINTS, RESULTS
from siam.style import INK, NOT_YET, Figure, Table, undrawn
from siam.theory_figures import BLUE, GREEN, PINK, VERMILLION, drawing, mean_interval, shown

PLACE = "svm/argument.json"  # in data/results
RECORD = RESULTS / PLACE
CLASSES = (0, 6)  # airplane and frog, of all pairs we tried one that a linear SVM tells apart well
COST = 1e-3  # C of the SVM
EPSILON = 8 / 255  # pixel units
PIXEL_SIGMA = 0.24 * PIXEL_STD  # σ = 0.24 in normalised units


# ------------------------------------------------------------------------------------- closed forms, eqs. (13) to (15)


def hinge(margin):
    """The loss of a margin: max(1 - margin, 0)."""
    return np.maximum(1 - margin, 0)


def quiet(margin, e):
    """The worst hinge loss without noise, in closed form: the attack takes e off the margin, and no more."""
    return hinge(margin - e)


def noisy(margin, e, t):
    """Eq. (13) in closed form: E max(a + t Z, 0) = a Φ(a/t) + t φ(a/t) with a = 1 - margin + e and Z standard normal.

    Exact, as the hinge falls with the margin: whatever the noise did, the worst δ takes e off.
    """
    a = 1 - np.asarray(margin, float) + e
    if t == 0:
        return np.maximum(a, 0)
    return a * ndtr(a / t) + t * stats.norm.pdf(a / t)


def printed(margin, e):
    """Eq. (15) as printed: e outside the hinge. Never below `quiet`, and equal to it where margin <= 1."""
    return e + hinge(margin)


def seen(margin, t):
    """The share of noise draws in which the hinge loss of the unattacked image has a gradient at all: Φ((1 - m) / t)."""
    return ndtr((1 - np.asarray(margin)) / t) if t else (np.asarray(margin) < 1).astype(float)


def one_budget(margins, c):
    """The setting of Xu et al. (2009): the worst sum of hinge losses, c = Σ ε_i ‖w‖₁ divided among all images at will.

    The sum is convex in the shares, so one image gets the whole budget: the largest gain over images.
    """
    return hinge(margins).sum() + np.max(hinge(margins - c) - hinge(margins))


# --------------------------------------------------------------------------------------------------- the SVM itself


def fit(x, y, cost=COST, rounds=20, seed=0):
    """(w [d], b, relative duality gap) of the SVM min ‖(w, b)‖²/2 + cost Σ hinge, by dual coordinate ascent.

    x [n, d], y [n] = ±1. The pixels' mean is taken off first and put into b; b is regularised as w is.
    """
    mean = x.mean(0)
    x = np.hstack([x - mean, np.ones((len(x), 1), x.dtype)])
    squares, w, dual = (x * x).sum(1), np.zeros(x.shape[1], x.dtype), np.zeros(len(x), x.dtype)
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        for i in rng.permutation(len(x)):
            new = np.clip(dual[i] - (y[i] * (x[i] @ w) - 1) / squares[i], 0, cost)
            w += (new - dual[i]) * y[i] * x[i]
            dual[i] = new
    primal = w @ w / 2 + cost * hinge(y * (x @ w)).sum()
    return w[:-1], float(w[-1] - mean @ w[:-1]), float((primal - (dual.sum() - w @ w / 2)) / primal)


def measure_svm(draws=20_000):
    """Fit on the training images of two classes and measure on their test images: the record's part "svm"."""
    from siam.data import images, pixels

    def two(split):
        x, y = images(split)
        mine = (y == CLASSES[0]) | (y == CLASSES[1])
        return pixels(x[mine]).flatten(1).double().numpy(), np.where(y[mine].numpy() == CLASSES[0], 1, -1)

    x, y = two("train")
    w, b, gap = fit(x, y)
    test, labels = two("test")
    margins = labels * (test @ w + b)
    # The noise is drawn in all 3,072 pixels, and the attack is the image it makes: nothing of the closed form is used.
    rng, chosen, losses = np.random.default_rng(0), np.argsort(margins)[50 :: len(margins) // 12], []
    sigmas = (PIXEL_SIGMA, 4 * PIXEL_SIGMA, 16 * PIXEL_SIGMA)
    for _ in range(draws // 1000):
        eta = rng.standard_normal((1000, len(w)))
        attacked = test[chosen] - labels[chosen, None] * EPSILON * np.sign(w)
        losses.append([hinge(labels[chosen] * ((attacked @ w)[None] + (s * eta @ w)[:, None] + b)) for s in sigmas])
    losses = np.concatenate(losses, 1)  # [σ, draws, images]
    monte_carlo = [
        dict(sigma=s, margin=float(margins[image]), mean=float(of.mean()), error=float(of.std(ddof=1) / draws**0.5))
        for s, per_image in zip(sigmas, losses)
        for image, of in zip(chosen, per_image.T)
    ]
    return dict(
        classes=list(CLASSES), cost=COST, gap=gap, trained=len(y), right=int((margins > 0).sum()), n=len(margins),
        l1=float(np.abs(w).sum()), l2=float(np.sqrt(w @ w)), dimension=len(w), epsilon=EPSILON, draws=draws,
        monte_carlo=monte_carlo, margins=np.round(margins, 4).tolist(),
    )  # fmt: skip


# -------------------------------------------------------------------------------------- a real network's gradients

NETWORKS = {"cpni-w-cpu-0": "CPNI-W, noisy layers", "plain-adversarial-cpu-0": "plain, adversarial training"}
# (network, its layers' noise on, σ of the input noise in normalised units)
SETTINGS = [("cpni-w-cpu-0", True, sigma) for sigma in (0.0, 0.24, 0.48)]
SETTINGS += [("plain-adversarial-cpu-0", False, sigma) for sigma in (0.24, 0.48)]
EDGES = np.linspace(-1, 1, 81)
AVERAGED = (1, 2, 4, 8, 16, 32)


def cosine(a, b):
    """The cosine of the angle between images [N, …] and [N, …], per image; 0 where one of them is 0."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-300)


def gradients(model, x, y, sigma, draws, key):
    """Yield (gradient, η), both [N, 3, H, W] in pixel units, of `draws` single passes over pixels x at labels y.

    model: a `Folded` without input noise; η is added here, where it can be looked at: Gaussian, σ in normalised units.
    """
    import torch

    from siam.attacks import error_of, gradient
    from siam.seeding import seeded

    for k in range(draws):
        with seeded(*key, k):
            eta = sigma * model.std * torch.randn_like(x)
            yield gradient(error_of(model, y), x + eta), eta


def directions(noiseless, model, x, y, sigma, draws=32, passes=8):
    """How far single noisy gradients stray from the expected direction v: a dict of arrays, one row per image.

    v: the sign of the mean of `draws` gradients; what is compared with it comes from `draws` others. along [N, draws]:
    cosine of the one-pass attack sign(g) and v. noise [N, draws]: cosine of what of the attack is off v and what of η is.
    averaged [N, len(AVERAGED)]: as along, for the sign of the mean of m gradients. still [N]: for the gradient with all
    noise off. losses {attack: [N]}: expected cross-entropy after one step of ε, over `passes` fresh noisy passes.
    """
    import torch

    from siam.attacks import error_of, gradient
    from siam.seeding import seeded

    v = sum(g for g, _ in gradients(model, x, y, sigma, draws, ("reference",))).sign()
    across = lambda t: t - v * (t * v).mean((1, 2, 3), keepdim=True)  # noqa: E731  v has entries of ±1
    along, noise, averaged, single, total = [], [], [], [], 0
    for k, (g, eta) in enumerate(gradients(model, x, y, sigma, draws, ("drawn",))):
        attack, total = g.sign(), total + g
        along.append(cosine(attack, v))
        noise.append(cosine(across(attack), across(eta)))
        if k + 1 in AVERAGED:
            averaged.append(cosine(total.sign(), v))
        if k < 4:
            single.append(attack)
    still = gradient(error_of(noiseless, y), x).sign()
    with seeded("random sign"):
        random = torch.randn_like(x).sign()

    def loss(step):
        moved, found = (x + EPSILON * step).clamp(0, 1), 0
        for k in range(passes):
            with torch.no_grad(), seeded("loss", k):
                found = found + error_of(model, y)(moved + sigma * model.std * torch.randn_like(x)).double()
        return found / passes

    losses = {"none": loss(0 * x), "random": loss(random), "still": loss(still),
              "single": sum(map(loss, single)) / len(single), "expected": loss(v)}  # fmt: skip
    stacked = {"along": along, "noise": noise, "averaged": averaged}
    return {name: torch.stack(rows, 1).numpy() for name, rows in stacked.items()} | dict(
        still=cosine(still, v).numpy(), losses={name: of.numpy() for name, of in losses.items()}
    )


def summary(found):
    """What the record keeps of `directions`: histograms, means over images and their 95 % intervals (Student's t)."""
    losses = found["losses"]
    gains = {name: mean_interval(losses[name] - losses["none"]) for name in losses if name != "none"}
    gains["lost"] = mean_interval(losses["expected"] - losses["single"])  # paired, image by image
    return dict(
        along=np.histogram(found["along"], EDGES)[0].tolist(), mean=mean_interval(found["along"].mean(1)),
        quantiles=np.quantile(found["along"], [0.05, 0.5, 0.95]).tolist(), still=mean_interval(found["still"]),
        averaged=[mean_interval(column) for column in found["averaged"].T],
        noise=mean_interval(found["noise"].mean(1)), noise_spread=float(found["noise"].std()),
        none=mean_interval(losses["none"]), gains=gains,
    )  # fmt: skip


def measure_directions(n=50, draws=32, checkpoints=CHECKPOINTS):
    """`summary` of every setting over the first n images of the shipped test sample: the record's part "directions"."""
    from siam import models
    from siam.data import images, pixels
    from siam.folding import Folded, without_noise

    x, y = images("sample-test", n)
    x, rows = pixels(x), []
    for checkpoint, layers, sigma in SETTINGS:
        path = Path(checkpoints) / f"{checkpoint}.safetensors"
        noiseless, model = (form(models.load(path, 0.0)) for form in (without_noise, Folded))
        found = summary(directions(noiseless, model, x, y, sigma, draws))
        rows.append(dict(checkpoint=checkpoint, digest=models.about(path)["digest"], layers=layers, sigma=sigma, **found))
        print(f"{checkpoint} σ = {sigma:g}: mean cosine {found['mean'][0]:.3f}", flush=True)
    return dict(split="sample-test", n=n, draws=draws, precision="fp32", edges=EDGES.tolist(), settings=rows)


def measure(path=RECORD, **sizes):
    """Measure all of it, anew, and write the record. Raises ValueError for a file at `path` that is none."""
    from siam.training import describe

    if Path(path).exists():
        load(path)
    record = dict(kind="svm", tier="cpu", **runs.provenance(describe("cpu")))
    return runs.write_json(path, record | dict(svm=measure_svm(), directions=measure_directions(**sizes)))


def load(path=RECORD):
    """The record, a dict. Raises ValueError, one line, for a file that is none."""
    return read_other(path, "svm", ("svm", "directions", "versions", "commit"))


# ------------------------------------------------------------------------------------------------- the page


def corners(d):
    """All 2^d corners of the cube [-1, 1]^d, [2^d, d]."""
    return np.array(np.meshgrid(*[(-1, 1)] * d)).reshape(d, -1).T


def brute(w, b, x, y, epsilon, sigma, draws, rng):
    """Eq. (13) word for word: the mean over draws of the largest hinge loss over all corners of the ε-cube, and its
    standard error. The loss is convex in δ, so its maximum is at a corner."""
    points = x + sigma * rng.standard_normal((draws, 1, len(w))) - epsilon * corners(len(w))
    worst = hinge(y * (points @ w + b)).max(1)
    return worst.mean(), worst.std(ddof=1) / draws**0.5


def toy(draws=20_000):
    """Table: eq. (13) by brute force on an SVM of four pixels, the closed form, and eq. (15) as printed."""
    rng, rows = np.random.default_rng(0), []
    w, b = np.array([1.5, -1.0, 0.5, 2.0]), -0.75
    for y, sigma in ((1, 0.2), (1, 0.5), (-1, 0.2), (-1, 0.5)):
        for x in np.array([[0.3, 0.6, 0.5, 0.2], [0.9, 0.2, 0.6, 0.8]]):
            margin, e, t = y * (w @ x + b), 0.1 * np.abs(w).sum(), sigma * np.sqrt(w @ w)
            mean, error = brute(w, b, x, y, 0.1, sigma, draws, rng)
            rows.append({"Rows": "four pixels, ε = 0.1", "s": f"{sigma:g}", "margin": minus(margin, 2),
                         "corner by corner": f"{mean:.3f} ± {2 * error:.3f}", "closed form": f"{noisy(margin, e, t):.3f}",
                         "without noise": f"{quiet(margin, e):.3f}", "eq. (15)": f"{printed(margin, e):.3f}"})  # fmt: skip
    rows = sorted(rows, key=lambda row: row["s"])
    caption = (f"Worst hinge loss of a toy. Mean of the worst of 16 corners over {draws:,} draws of the noise (± two standard"
               f" errors), and what the formulas say.")  # fmt: skip
    return Table(pd.DataFrame(rows), caption, 1)


def minus(value, digits):
    return f"{value:.{digits}f}".replace("-", "−")


def _there(path):
    return load(path) if Path(path).exists() else None


def _strengths(svm):
    """σ in pixel units -> its text, of the record's Monte Carlo."""
    return {s: f"s = {s:.2f}" for s in dict.fromkeys(row["sigma"] for row in svm["monte_carlo"])}


def _trained(svm):
    return (f"Linear SVM on airplanes and frogs, {svm['trained']:,} training images, {100 * svm['right'] / svm['n']:.1f} % of"
            f" n = {svm['n']:,} test images right; ε = 8/255, ‖w‖₁ = {svm['l1']:.2f}, ‖w‖₂ = {svm['l2']:.3f}. Tier cpu.")  # fmt: skip


def expected_loss(path=RECORD):
    """Figure: the expected worst hinge loss against the margin, and what the noise adds, closed form and Monte Carlo."""
    record = _there(path)
    if record is None:
        return undrawn("Expected loss of a linear SVM")
    svm = record["svm"]
    e, colours = svm["epsilon"] * svm["l1"], (BLUE, GREEN, VERMILLION)
    strengths, margins = _strengths(svm), np.linspace(-1, 4, 201)
    look = {"no noise": ("currentColor", "-"), "eq. (15) as printed": (PINK, "--")}
    look |= {text: (colour, "-") for text, colour in zip(strengths.values(), colours)}

    def losses(axes):
        axes.plot(margins, quiet(margins, e), color=INK)
        axes.plot(margins, printed(margins, e), "--", color=PINK)
        for (s, text), colour in zip(strengths.items(), colours):
            axes.plot(margins, noisy(margins, e, s * svm["l2"]), color=colour, lw=1)
            rows = [row for row in svm["monte_carlo"] if row["sigma"] == s]
            axes.plot([row["margin"] for row in rows], [row["mean"] for row in rows], "o", color=colour, ms=3)

    def gains(axes):
        u = np.linspace(-4, 4, 161)
        axes.plot(u, noisy(1 - u, 0, 1) - np.maximum(u, 0), color=INK)
        for s, colour in zip(strengths, colours):
            t = s * svm["l2"]
            for row in svm["monte_carlo"]:
                place = (1 - row["margin"] + e) / t
                # Where the hinge is straight the mean of the noise itself is all that is left: nothing to see there.
                if row["sigma"] == s and abs(place) <= 4:
                    gain, error = (row["mean"] - quiet(row["margin"], e)) / t, 2 * row["error"] / t
                    axes.errorbar(place, gain, error, color=colour, marker="o", ms=3, lw=1)

    alt = "the curve with noise lies on or above the one without, furthest where the attacked hinge bends"
    panels = [
        drawing(losses, "Loss", "margin of the image", "expected worst hinge loss", alt, "svm loss"),
        drawing(gains, "What noise adds", "(1 − m + e) / t", "added loss / t", "a bump of height 0.4 around zero", "svm gain"),
    ]
    rows = []
    for row in svm["monte_carlo"]:
        rows.append({"Rows": strengths[row["sigma"]] + " of the pixel range", "margin": minus(row["margin"], 3),
                     "Monte Carlo": f"{row['mean']:.4f} ± {2 * row['error']:.4f}",
                     "closed form": f"{noisy(row['margin'], e, row['sigma'] * svm['l2']):.4f}",
                     "without noise": f"{quiet(row['margin'], e):.4f}", "eq. (15)": f"{printed(row['margin'], e):.4f}"})  # fmt: skip
    caption = (f"Expected loss of a linear SVM: lines are closed forms, dots {svm['draws']:,} draws of noise in all"
               f" {svm['dimension']:,} pixels (right: with two standard errors). s: standard deviation of the noise in pixel"
               f" units; 0.06 is the paper's σ = 0.24. {_trained(svm)}")  # fmt: skip
    return Figure(panels, look, caption, Table(pd.DataFrame(rows), "Expected worst hinge loss, ± two standard errors", 1, PLACE))


def _nothing(caption):
    return Table(pd.DataFrame([["all", NOT_YET]], columns=["Rows", "Loss"]), caption, 1)


def averages(path=RECORD):
    """Table: means over the test images of eq. (13), of what it is without noise and of eq. (15), by strength of noise."""
    record = _there(path)
    if record is None:
        return _nothing("Means over test images")
    svm = record["svm"]
    m, e, rows = np.array(svm["margins"]), svm["epsilon"] * svm["l1"], []
    for s in (0, *_strengths(svm)):
        t = s * svm["l2"]
        rows.append({"Rows": "all test images", "s": f"{s:.2f}", "t = s‖w‖₂": f"{t:.3f}",
                     "eq. (13)": shown(mean_interval(noisy(m, e, t)), 3),
                     "added by the noise": f"{(noisy(m, e, t) - quiet(m, e)).mean():.4f}",
                     "eq. (15) − eq. (13)": shown(mean_interval(printed(m, e) - noisy(m, e, t)), 3),
                     "draws with a gradient, %": f"{100 * seen(m, t).mean():.1f}"})  # fmt: skip
    caption = f"Means over test images (95 % interval over images). e = ε‖w‖₁ = {e:.3f}. {_trained(svm)}"
    return Table(pd.DataFrame(rows), caption, 1, PLACE)


def in_words(path=RECORD):
    """What the SVM's record says of eqs. (13) to (15), a Markdown list."""
    record = _there(path)
    if record is None:
        return f"{NOT_YET.capitalize()}."
    svm = record["svm"]
    m, e, t = np.array(svm["margins"]), svm["epsilon"] * svm["l1"], PIXEL_SIGMA * svm["l2"]
    outside, fold = int((m > 1).sum()), int((np.abs(1 - m + e) < 2 * t).sum())
    off = max(abs(row["mean"] - noisy(row["margin"], e, row["sigma"] * svm["l2"])) / row["error"]
              for row in svm["monte_carlo"] if row["error"] > 0)  # fmt: skip
    budget = len(m) * e
    lines = [
        f"The attack takes e = ε‖w‖₁ = {e:.2f} off every margin. The paper's noise, twice as large per pixel, moves it by"
        f" t = {t:.3f}, one standard deviation: it has no aim, and {svm['dimension']:,} pixels without aim add up like a square"
        f" root. At σ = 0.24 it adds {(noisy(m, e, t) - quiet(m, e)).mean():.5f} to a mean loss of {quiet(m, e).mean():.3f};"
        f" only {fold} of {len(m):,} images are within two t of the bend.",
        f"Eq. (15) is exact without noise for the {len(m) - outside:,} test images with m ≤ 1 and too large for the other"
        f" {outside:,}; its mean is {printed(m, e).mean():.3f} where the truth is {quiet(m, e).mean():.3f}.",
        f"With one budget of {budget:,.0f} for all images together, the setting of Xu et al., the worst sum of losses is"
        f" {one_budget(m, budget):,.1f}, and *c + Σ hinge* is {budget + hinge(m).sum():,.1f}: there the formula is exact. With"
        f" e for each image the sum is {quiet(m, e).sum():,.1f}.",
        f"The closed form and the Monte Carlo part by at most {off:.1f} standard errors over {len(svm['monte_carlo'])} pairs of"
        f" image and noise, which share their draws.",
    ]  # fmt: skip
    return "\n".join(f"- {line}" for line in lines)


def _gradients(record):
    about = record["directions"]
    tier = runs.tier("cpu", about["split"], about["n"], record["device"])
    return (f"n = {about['n']} shipped test images, {about['draws']} draws each and {about['draws']} others for the expected"
            f" direction, {about['precision']}. Tier {tier}: small models, no reproduction.")  # fmt: skip


def _by_network(record):
    """[(network, {curve: its setting})] and the look of the curves."""
    settings = record["directions"]["settings"]
    found = [(name, {f"σ = {row['sigma']:g}": row for row in settings if row["checkpoint"] == checkpoint})
             for checkpoint, name in NETWORKS.items()]  # fmt: skip
    colours = {"σ = 0": (GREEN, "-"), "σ = 0.24": (BLUE, "-"), "σ = 0.48": (VERMILLION, "-")}
    return [(name, rows) for name, rows in found if rows], colours


def along(path=RECORD):
    """Figure: how much of a single-pass attack lies along the expected adversarial direction, a histogram."""
    record = _there(path)
    if record is None:
        return undrawn("Attacks along the expected direction")
    (found, look), panels, rows = _by_network(record), [], []
    middle = (EDGES[1:] + EDGES[:-1]) / 2
    for network, settings in found:

        def draw(axes, settings=settings):
            for name, row in settings.items():
                share = 100 * np.array(row["along"]) / sum(row["along"])
                axes.fill_between(middle, share, color=look[name][0], alpha=0.2, lw=0, step="mid")
                axes.step(middle, share, color=look[name][0], where="mid", lw=1.2)
            axes.axvline(1, color=INK, lw=1)
            axes.set(xlim=(-0.1, 1.02))

        alt = "; ".join(f"{name} mean {row['mean'][0]:.2f}" for name, row in settings.items())
        panels.append(drawing(draw, network, "cosine with v", "draws, %", alt, f"svm along {network}"))
        for row in settings.values():
            mean = row["mean"][0]
            rows.append({"Rows": network, "σ": f"{row['sigma']:g}", "cosine with v": shown(row["mean"]),
                         "5 to 95 % of draws": f"{row['quantiles'][0]:.2f} to {row['quantiles'][2]:.2f}",
                         "pixels of the wrong sign, %": f"{50 * (1 - mean):.0f}",
                         "length across v": f"{np.sqrt(1 - mean**2):.2f}",
                         "across v, cosine with η": shown(row["noise"]) if row["sigma"] else "–",
                         "noise off, cosine with v": shown(row["still"])})  # fmt: skip
    caption = (f"Attacks along the expected direction: the cosine of the sign of one noisy gradient with v, the sign of the mean"
               f" of others. Without noise every draw is the same and lies on the line at 1. {_gradients(record)}")  # fmt: skip
    return Figure(panels, look, caption, Table(pd.DataFrame(rows), "One noisy gradient and v (95 % interval over images)", 1, PLACE))


def averaging(path=RECORD):
    """Figure: the cosine with v of the sign of the mean of m gradients, against m."""
    record = _there(path)
    if record is None:
        return undrawn("Averaging gradients")
    (found, look), panels, rows = _by_network(record), [], []
    for network, settings in found:

        def draw(axes, settings=settings):
            for name, row in settings.items():
                mean, low, high = zip(*row["averaged"])
                axes.fill_between(AVERAGED[: len(mean)], low, high, color=look[name][0], alpha=0.2, lw=0)
                axes.plot(AVERAGED[: len(mean)], mean, "o-", color=look[name][0])
            axes.set_xscale("log", base=2)
            axes.set(xticks=AVERAGED, xticklabels=AVERAGED, ylim=(0, 1))

        alt = "; ".join(f"{name} {row['averaged'][0][0]:.2f} to {row['averaged'][-1][0]:.2f}" for name, row in settings.items())
        panels.append(drawing(draw, network, "gradients averaged, m", "cosine with v", alt, f"svm averaging {network}"))
        for row in settings.values():
            values = {f"m = {m}": shown(triple) for m, triple in zip(AVERAGED, row["averaged"])}
            rows.append({"Rows": network, "σ": f"{row['sigma']:g}", **values})
    caption = (f"Averaging gradients: the sign of the mean of m gradients against v. Bands: 95\u00a0% intervals over images."
               f" {_gradients(record)}")  # fmt: skip
    return Figure(panels, look, caption, Table(pd.DataFrame(rows), "Cosine with v (95 % interval over images)", 1, PLACE))


def losses(path=RECORD):
    """Table: what one step of ε adds to the expected cross-entropy, by the direction it takes."""
    record = _there(path)
    if record is None:
        return _nothing("One step of ε")
    rows = []
    for network, settings in _by_network(record)[0]:
        for row in settings.values():
            gain = row["gains"]
            rows.append({"Rows": network, "σ": f"{row['sigma']:g}", "unattacked": shown(row["none"]),
                         "random signs": shown(gain["random"]), "one noisy gradient": shown(gain["single"]),
                         "gradient without noise": shown(gain["still"]), "v": shown(gain["expected"]),
                         "v − one noisy gradient": shown(gain["lost"]),
                         "of v's, %": f"{100 * gain['single'][0] / gain['expected'][0]:.0f}"})  # fmt: skip
    caption = (f"One step of ε = 8/255: what it adds to the expected cross-entropy under the same noise, 8 fresh passes. 95 %"
               f" intervals over images; the difference is paired. {_gradients(record)}")  # fmt: skip
    return Table(pd.DataFrame(rows), caption, 1, PLACE)


def main(arguments=None):
    command("siam.svm", "Measure what section 3.4 argues.", RECORD, measure, arguments)


if __name__ == "__main__":
    main()
