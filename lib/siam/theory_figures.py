"""Drawings for the pages on the paper's arguments, in the look of `siam.style`: curves, clouds and steps. No torch."""

import re

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from scipy import stats

from siam.style import STYLE, labelled, text_of

BLUE, GREEN, PINK, VERMILLION = "#0072B2", "#009E73", "#CC79A7", "#D55E00"
COLOURS = (BLUE, GREEN, PINK, VERMILLION)  # Okabe and Ito's, told apart with every kind of colour vision


def drawing(draw, title, xlabel, ylabel, alt, salt):
    """One panel as SVG text, the same text every time; `draw` is called with its axes. alt: what it shows, in words.

    salt: keeps the ids of one panel apart from those of another on the same page.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):
        canvas = Canvas(figsize=(2.8, 2.6), layout="constrained")
        axes = canvas.subplots()
        draw(axes)
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        svg = text_of(canvas)
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)  # a hundredth of a point is fine enough: a third of the text
    return labelled(svg, f"{title}: {alt}")


def mean_interval(values):
    """[mean, low, high]: 95 % interval by Student's t over independent values [n]."""
    values = np.asarray(values, float)
    mean, half = values.mean(), stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return [float(mean), float(mean - half), float(mean + half)]


def shown(triple, digits=2, factor=1):
    """[mean, low, high] as text: mean (low to high)."""
    mean, low, high = (f"{factor * value:.{digits}f}".replace("-", "−") for value in triple)
    return f"{mean} ({low} to {high})" if "−" in low else f"{mean} ({low}–{high})"
