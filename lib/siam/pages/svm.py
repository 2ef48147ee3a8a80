"""The page on section 3.4: the SVM's formulas beside Monte Carlo, and noisy gradients, from what `siam.studies.svm` wrote. No torch."""

from pathlib import Path

import numpy as np
import pandas as pd

from siam import runs
from siam.files import read_other
from siam.hinge import PIXEL_SIGMA, brute, hinge, noisy, one_budget, printed, quiet, seen
from siam.pages.style import BLUE, GREEN, INK, PINK, VERMILLION, Figure, Table, drawing, of_sigma, shown, undrawn, unfilled
from siam.paired import interval_of
from siam.paths import RESULTS
from siam.report import NOT_YET, minus

PLACE = "svm/argument.json"  # in data/results
NETWORKS = {True: "CPNI-W, noisy layers", False: "plain, adversarial training"}  # by whether their layers are noisy


def read(folder=RESULTS):
    """The record of `siam.studies.svm`, or None. Raises ValueError, one line, for a file that is none."""
    return read_other(Path(folder) / PLACE, "svm", ("svm", "directions", "versions", "commit"))


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
                         "without noise": f"{quiet(margin, e):.3f}", "eq. (15)": f"{printed(margin, e):.3f}"})
    rows = sorted(rows, key=lambda row: row["s"])
    caption = (f"Worst hinge loss of a toy: an SVM of four pixels. Mean loss at the worst of 16 corners over {draws:,} draws of the noise"
               f" (± two standard errors), and what the formulas give.")
    return Table(pd.DataFrame(rows), caption, 1)


def _strengths(svm):
    """σ in pixel units -> its text, of the record's Monte Carlo."""
    return {s: f"s = {s:.2f}" for s in dict.fromkeys(row["sigma"] for row in svm["monte_carlo"])}


def _trained(record):
    svm = record["svm"]
    return (f"Linear SVM on airplanes and frogs, {svm['trained']:,} training images, {100 * svm['right'] / svm['n']:.1f} % of"
            f" n = {svm['n']:,} test images right; ε = {255 * svm['epsilon']:g}/255, ‖w‖₁ = {svm['l1']:.2f}, ‖w‖₂ = {svm['l2']:.3f}."
            f" Tier {record['tier']}.")


def expected_loss(folder=RESULTS):
    """Figure: the expected worst hinge loss against the margin, and what the noise adds, closed form and Monte Carlo."""
    record = read(folder)
    if record is None:
        return undrawn("Expected loss of a linear SVM")
    svm = record["svm"]
    e, margins, strengths = svm["epsilon"] * svm["l1"], np.linspace(-1, 4, 201), _strengths(svm)
    # The weakest noise hardly leaves the line without noise: dashed and drawn last, both are seen.
    weakest, colours = min(strengths), (BLUE, GREEN, VERMILLION)
    dashes = {s: "--" if s == weakest else "-" for s in strengths}
    look = {"no noise": ("currentColor", "-"), "eq. (15) as printed": (PINK, "--")}
    look |= {text: (colour, dashes[s]) for (s, text), colour in zip(strengths.items(), colours)}

    def losses(axes):
        axes.plot(margins, quiet(margins, e), color=INK)
        axes.plot(margins, printed(margins, e), "--", color=PINK)
        for s, colour in sorted(zip(strengths, colours), reverse=True):
            axes.plot(margins, noisy(margins, e, s * svm["l2"]), dashes[s], color=colour, lw=1.3)
            rows = [row for row in svm["monte_carlo"] if row["sigma"] == s]
            axes.plot([row["margin"] for row in rows], [row["mean"] for row in rows], "o", color=colour, ms=3, zorder=3)

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
                     "without noise": f"{quiet(row['margin'], e):.4f}", "eq. (15)": f"{printed(row['margin'], e):.4f}"})
    caption = (f"Expected loss of a linear SVM: lines are closed forms, dots {svm['draws']:,} draws of noise in all"
               f" {svm['dimension']:,} pixels (right: with two standard errors). s: standard deviation of the noise in pixel"
               f" units; 0.06 is the paper's σ = 0.24. {_trained(record)}")
    return Figure(panels, look, caption, Table(pd.DataFrame(rows), "Expected worst hinge loss, ± two standard errors", 1, PLACE))


def averages(folder=RESULTS):
    """Table: means over the test images of eq. (13), of what it is without noise and of eq. (15), by strength of noise."""
    record = read(folder)
    if record is None:
        return unfilled("Means over test images")
    svm = record["svm"]
    m, e, rows = np.array(svm["margins"]), svm["epsilon"] * svm["l1"], []
    for s in (0, *_strengths(svm)):
        t = s * svm["l2"]
        rows.append({"Rows": "all test images", "s": f"{s:.2f}", "t = s‖w‖₂": f"{t:.3f}",
                     "eq. (13)": shown(interval_of(noisy(m, e, t), 1), 3),
                     "added by the noise": f"{(noisy(m, e, t) - quiet(m, e)).mean():.4f}",
                     "eq. (15) − eq. (13)": shown(interval_of(printed(m, e) - noisy(m, e, t), 1), 3),
                     "draws with a gradient, %": f"{100 * seen(m, t).mean():.1f}"})
    caption = f"Means over test images (95 % interval over images). e = ε‖w‖₁ = {e:.3f}. {_trained(record)}"
    return Table(pd.DataFrame(rows), caption, 1, PLACE)


def in_words(folder=RESULTS):
    """What the SVM's record says of eqs. (13) to (15), a Markdown list."""
    record = read(folder)
    if record is None:
        return f"{NOT_YET.capitalize()}."
    svm = record["svm"]
    m, e, t = np.array(svm["margins"]), svm["epsilon"] * svm["l1"], PIXEL_SIGMA * svm["l2"]
    outside, fold = int((m > 1).sum()), int((np.abs(1 - m + e) < 2 * t).sum())
    off = max(abs(row["mean"] - noisy(row["margin"], e, row["sigma"] * svm["l2"])) / row["error"]
              for row in svm["monte_carlo"] if row["error"] > 0)
    budget = len(m) * e
    lines = [
        f"The attack takes e = ε‖w‖₁ = {e:.2f} off every margin. The paper's noise is twice as large per pixel, and moves a"
        f" margin by only t = {t:.3f} (one standard deviation): it has no aim, and {svm['dimension']:,} pixels without aim add up only"
        f" as the square root of their number. At σ = 0.24 it adds {(noisy(m, e, t) - quiet(m, e)).mean():.5f} to a mean loss of"
        f" {quiet(m, e).mean():.3f}; only {fold} of {len(m):,} images are within two t of the bend.",
        f"Eq. (15) is exact without noise for the {len(m) - outside:,} test images with m ≤ 1 and too large for the other"
        f" {outside:,}; its mean is {printed(m, e).mean():.3f} where the truth is {quiet(m, e).mean():.3f}.",
        f"With one budget of {budget:,.0f} for all images together, the setting of Xu et al., the worst sum of losses is"
        f" {one_budget(m, budget):,.1f}, and *c + Σ hinge* is {budget + hinge(m).sum():,.1f}: there the formula is exact. With"
        f" e for each image the sum is {quiet(m, e).sum():,.1f}.",
        f"The closed form and the Monte Carlo mean differ by at most {off:.1f} standard errors over {len(svm['monte_carlo'])} pairs of"
        f" image and noise, which share their draws.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _gradients(record):
    about = record["directions"]
    tier = runs.tier("cpu", about["split"], about["n"])
    networks = " and ".join(dict.fromkeys(row["checkpoint"] for row in about["settings"]))
    return (f"n = {about['n']} shipped test images, {about['draws']} draws each and {about['draws']} others for the expected"
            f" direction, {about['precision']}; a batch is {about['batch']} images, which share their draws. Tier {tier}: small models"
            f" ({networks}), not a reproduction.")


def _by_network(record):
    """[(network, {curve: its setting})] and the look of the curves."""
    settings = record["directions"]["settings"]
    found = [(name, {f"σ = {row['sigma']:g}": row for row in settings if row["layers"] == layers})
             for layers, name in NETWORKS.items()]
    colours = {f"σ = {sigma:g}": (of_sigma(sigma), "-") for sigma in sorted({row["sigma"] for row in settings})}
    return [(name, rows) for name, rows in found if rows], colours


def along(folder=RESULTS):
    """Figure: how much of a single-pass attack lies along the expected adversarial direction, a histogram."""
    record = read(folder)
    if record is None:
        return undrawn("Attacks along the expected direction")
    (found, look), panels, rows = _by_network(record), [], []
    edges = np.array(record["directions"]["edges"])
    middle = (edges[1:] + edges[:-1]) / 2
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
                         "noise off, cosine with v": shown(row["still"])})
    caption = (f"Attacks along the expected direction: the cosine of the sign of one noisy gradient with v, the sign of the mean"
               f" of others. Without noise every draw is the same and lies on the line at 1. {_gradients(record)}")
    return Figure(panels, look, caption, Table(pd.DataFrame(rows), "One noisy gradient and v (95 % interval over batches)", 1, PLACE))


def averaging(folder=RESULTS):
    """Figure: the cosine with v of the sign of the mean of m gradients, against m."""
    record = read(folder)
    if record is None:
        return undrawn("Averaging gradients")
    (found, look), panels, rows = _by_network(record), [], []
    averaged = [2**k for k in range(len(record["directions"]["settings"][0]["averaged"]))]  # m
    for network, settings in found:

        def draw(axes, settings=settings):
            for name, row in settings.items():
                mean, low, high = zip(*row["averaged"])
                axes.fill_between(averaged, low, high, color=look[name][0], alpha=0.2, lw=0)
                axes.plot(averaged, mean, "o-", color=look[name][0])
            axes.set_xscale("log", base=2)
            axes.set(xticks=averaged, xticklabels=averaged, ylim=(0, 1))

        alt = "; ".join(f"{name} {row['averaged'][0][0]:.2f} to {row['averaged'][-1][0]:.2f}" for name, row in settings.items())
        panels.append(drawing(draw, network, "gradients averaged, m", "cosine with v", alt, f"svm averaging {network}"))
        for row in settings.values():
            values = {f"m = {m}": shown(triple) for m, triple in zip(averaged, row["averaged"])}
            rows.append({"Rows": network, "σ": f"{row['sigma']:g}", **values})
    caption = (f"Averaging gradients: the sign of the mean of m gradients against v. Bands: 95\u00a0% intervals over batches."
               f" {_gradients(record)}")
    return Figure(panels, look, caption, Table(pd.DataFrame(rows), "Cosine with v (95 % interval over batches)", 1, PLACE))


def losses(folder=RESULTS):
    """Table: what one step of ε adds to the expected cross-entropy, by the direction it takes."""
    record = read(folder)
    if record is None:
        return unfilled("One step of ε")
    rows = []
    for network, settings in _by_network(record)[0]:
        for row in settings.values():
            gain = row["gains"]
            rows.append({"Rows": network, "σ": f"{row['sigma']:g}", "unattacked": shown(row["none"]),
                         "random signs": shown(gain["random"]), "one noisy gradient": shown(gain["single"]),
                         "gradient without noise": shown(gain["still"]), "v": shown(gain["expected"]),
                         "without noise − one noisy": shown(gain["off"]), "v − one noisy": shown(gain["lost"]),
                         "of v's, %": f"{100 * gain['single'][0] / gain['expected'][0]:.0f}"})
    about = record["directions"]
    caption = (f"One step of ε = {255 * record['svm']['epsilon']:g}/255: what it adds to the expected cross-entropy under the same"
               f" noise, {about['passes']} fresh passes. 95 % intervals over batches; differences are paired. {_gradients(record)}")
    return Table(pd.DataFrame(rows), caption, 1, PLACE)
