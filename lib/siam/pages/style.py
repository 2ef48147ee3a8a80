"""How tables and figures look on a page: text with captions, links and colours that follow the page's own.

Nothing here knows of records: it is given frames and curves. No torch.
"""

import base64
import io
import re
from html import escape

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure as Canvas
from PIL import Image

from siam.report import NOT_YET, minus, signed

# Text and axes take the page's own colour, dark or light: INK stands for it while matplotlib draws.
INK = "#010203"
STYLE = {"svg.fonttype": "none", "font.size": 10, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
         "axes.grid": True, "grid.alpha": 0.15, "lines.linewidth": 1.6, "lines.markersize": 3.5,
         **dict.fromkeys(["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color",
                          "grid.color"], INK)}
BLUE, GREEN, PINK, VERMILLION = "#0072B2", "#009E73", "#CC79A7", "#D55E00"
COLOURS = (BLUE, GREEN, PINK, VERMILLION)  # Okabe and Ito's, told apart with every kind of colour vision
GREY = "#808080"
# A network has one colour, a strength of the input noise has one and a number of votes has one, on every page.
NETWORKS = {"CPNI-W": BLUE, "EPGD-converged": GREEN, "EPGD-diverged": PINK, "Gauss": VERMILLION, "plain, normal training": GREY}
NOISE = LinearSegmentedColormap.from_list("noise", [GREEN, BLUE, VERMILLION], N=257)  # σ from 0 over 0.24 to 0.48
# From violet over blue and green to ochre. All of it is seen on white and on black, so it is hardly lighter at one end than at
# the other; its steps are of hue, and along the axis that colour-blind readers keep.
DRAWS = LinearSegmentedColormap.from_list("draws", ["#7b36fc", "#7b7dd9", "#00708a", "#6c9f6c", "#b7750b"])
HEAT = "cividis"  # even steps for every kind of colour vision
INCHES, ALONE = 2.5, 4  # the width of a panel, and of one that is the only one; a page shows an inch as 5 to 7 rem, so that
# the text in all figures has about one size
# In rem: what the text of a page of 1200 px has room for, a character of a table's, and what parts two of its columns.
TEXT, CHARACTER, GAP = 38, 0.4, 0.6
BREAK = '<span class="break"> </span>'


class Table:
    """A table for the page (HTML with caption, links and a CSV to take away) and for the console (text).

    frame: cells as text, or as a tuple of record ids. Its first column names the part of the table that a row
    is in; the next `keys` columns name the row, and equal neighbours in them are shown once. record: what all rows are
    from, as its place in data/results, where they have no column of their own for it.
    """

    def __init__(self, frame, caption, keys, record=""):
        self.frame, self.caption, self.keys, self.record, self.name = frame, caption, keys, record, _name(caption)

    def __repr__(self):
        return f"{self.caption}\n{self._text().to_string(index=False)}"

    def _repr_html_(self):
        head = "".join(f'<th scope="col"{self._stays(j)}>{escape(name)}</th>' for j, name in enumerate(self.frame.columns[1:]))
        body = "\n".join(self._part(part, list(rows.iloc[:, 1:].itertuples(index=False, name=None)))
                         for part, rows in self.frame.groupby(self.frame.columns[0], sort=False))
        name = escape(self.caption.split(".")[0])
        # The caption stays outside what scrolls, readable on a narrow screen; tabindex: scrolls by keyboard.
        return (f'<figure class="numbers"><figcaption>{escape(self.caption)}</figcaption>\n'
                f'<div class="table-scroll" tabindex="0" role="region" aria-label="{name}">\n'
                f"<table>\n<thead><tr>{head}</tr></thead>\n{body}\n</table></div>{self._download()}</figure>")

    def _download(self):
        data = base64.b64encode(self._text().to_csv(index=False).encode()).decode()
        made = f", from the record {_link(self.record)}" if self.record else ""
        return f'<p class="aside"><a download="{self.name}.csv" href="data:text/csv;base64,{data}">These numbers as CSV</a>{made}</p>'

    def _width(self):
        """About how many rem its rows are wide. Headings and names may break between words, lists of records after each, and the place of
        one between its folders; numbers may not."""
        def longest(value, breaks):
            parts = "/".join(value).split("/") if isinstance(value, tuple) else value.split() if breaks else [value]
            return max(map(len, parts), default=0)

        columns = [(name, self.frame.iloc[:, 1 + j], j < self.keys) for j, name in enumerate(self.frame.columns[1:])]
        return sum(GAP + CHARACTER * max(longest(name, True), *(longest(value, key) for value in column)) for name, column, key in columns)

    def _text(self):
        return self.frame.map(lambda value: " ".join(value) if isinstance(value, tuple) else value)

    def _part(self, part, rows):
        title = f'<tr><th scope="rowgroup" colspan="{len(rows[0])}"><span>{escape(part)}</span></th></tr>\n'
        body = "\n".join(f"{self._names(rows, i)}<tr>{self._row(rows, i)}</tr>" for i in range(len(rows)))
        return f"<tbody{wide(self._width())}>\n{title}{body}\n</tbody>"

    def _stays(self, j):
        """The class of a column: what stays in sight while a table scrolls is its first, on a phone the innermost name."""
        kinds = ["first"] * (j == 0) + ["inner" if j == self.keys - 1 else "outer"] * (j < self.keys)
        return f' class="{" ".join(kinds)}"' if kinds else ""

    def _names(self, rows, i):
        """On a phone, where only the innermost name stays beside its row, the others stand in a line of their own above."""
        outer = rows[i][:self.keys - 1]
        if not outer or i and rows[i - 1][:self.keys - 1] == outer:
            return ""
        told = ", ".join(f"{column}: {value}" for column, value in zip(self.frame.columns[1:], outer))
        return f'<tr class="names"><th scope="rowgroup" colspan="{len(rows[i])}"><span>{escape(told)}</span></th></tr>\n'

    def _row(self, rows, i):
        parts = []
        for j, value in enumerate(rows[i]):
            start = rows[i][:j + 1]
            if j < self.keys:
                if i and rows[i - 1][:j + 1] == start:
                    continue
                span = next((k for k, row in enumerate(rows[i:]) if row[:j + 1] != start), len(rows) - i)
                parts.append(f'<th scope="row"{self._stays(j)} rowspan="{span}">{escape(value)}</th>')
            elif isinstance(value, tuple):
                parts.append(f"<td>{links(value)}</td>")
            elif value == NOT_YET:
                parts.append(f'<td class="missing">{value}</td>')
            else:
                # A line may end before an interval, as of 76.0 (75.1–76.8), and nowhere else.
                parts.append(f"<td>{re.sub(r' (?=[(][0-9.]+–)', BREAK, escape(value))}</td>")
        return "".join(parts)


def wide(width):
    """The class of rows so many rem wide, if they are wider than the text. The theme folds the page's contents away while something is on
    the screen that is "full-width", and paper.css lets a table of such rows reach into their margin."""
    return ' class="full-width"' if width > TEXT else ""


def _name(caption):
    """The name of the file that has the numbers below a caption: its first words."""
    return re.sub("[^a-z0-9]+", "-", re.split("[.:]", caption)[0].lower()).strip("-")


def links(ids):
    """Links to records as HTML, folded where there are more than four of them."""
    told = " ".join(map(_link, ids))
    return told if len(ids) < 5 else f"<details><summary>{len(ids)} records</summary>{told}</details>"


def _link(id):
    """A record by its id, or, of what is no evaluation, by its place in data/results."""
    # The same relative address serves the notebook in JupyterLab and the page of the book.
    path = id if "/" in id else f"evaluation/{id}.json"
    return f'<a href="../data/results/{path}">{id}</a>'


class Figure:
    """A figure for the page, and its caption and numbers for the console.

    panels: SVG texts, one per panel so that they stack on a narrow screen; legend: {name: (colour, dashes, or "o", "O" (a ring) or "D")};
    numbers: the Table folded below, or None.
    """

    def __init__(self, panels, legend, caption, numbers):
        self.panels, self.legend, self.caption, self.numbers = panels, legend, caption, numbers
        if numbers is not None:
            numbers.name = _name(caption)

    def __repr__(self):
        return f"{self.caption}\n{self.numbers!r}" if self.numbers else self.caption

    def _repr_html_(self):
        caption = f"<figcaption>{escape(self.caption)}</figcaption>"
        if not self.panels:
            return f'<figure class="panels missing">{caption}</figure>'
        # On a wide page two in a row, or three; where there is no room for all of a row, one: panels side by side belong together.
        columns, least, most = (2, 15, 34) if len(self.panels) % 2 == 0 else (3, 12.5, 51)
        row = columns * least + (columns - 1) / 2
        width = f"max({least}rem,min(100%,({row:g}rem - 100%)*999))"
        grid = f"display:grid;grid-template-columns:repeat(auto-fit,minmax({width},1fr));gap:.5rem;max-width:{most}rem"
        legend = " ".join(f'<span style="white-space:nowrap">{_key(*line)} {escape(name)}&emsp;</span>'
                          for name, line in self.legend.items())
        return (f'<figure class="panels"><p class="legend">{legend}</p>'
                f'<div style="{grid}">{"".join(self.panels)}</div>{caption}</figure>'
                + (f"<details><summary>The numbers</summary>{self.numbers._repr_html_()}</details>" if self.numbers else ""))


def unfilled(caption, columns=("Rows", "Cell")):
    """The Table of what nobody has measured yet."""
    return Table(pd.DataFrame([["all", NOT_YET] + [""] * (len(columns) - 2)], columns=columns), caption, 1)


def change(average, digits):
    """The mean of a change and its interval, {"mean", "low", "high"}, with their signs, as text."""
    mean, low, high = (signed(average[name], digits) for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def data_uri(pixels):
    """A picture uint8 [H, W, 3] as the source of an <img>."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def png_of(figure):
    """A figure of matplotlib as the bytes of a PNG, which name no program."""
    file = io.BytesIO()
    figure.savefig(file, dpi=150, metadata={"Software": None})
    return file.getvalue()


def undrawn(title):
    """The Figure of what nobody has measured yet."""
    return Figure([], {}, f"{title}: {NOT_YET}.", None)


def _key(colour, mark):
    if mark in "oO":
        look = f'r="3.5" fill="{colour}"' if mark == "o" else f'r="2.8" fill="none" stroke="{colour}" stroke-width="1.4"'
        return f'<svg width="10" height="8" aria-hidden="true"><circle cx="5" cy="4" {look}/></svg>'
    if mark == "D":
        return f'<svg width="12" height="12" aria-hidden="true"><path d="M6 1l5 5-5 5-5-5z" fill="none" stroke="{colour}"/></svg>'
    dash = {"-": "", "--": "6 3", ":": "1.5 2.5"}[mark]
    return (f'<svg width="24" height="8" aria-hidden="true"><line x2="24" y1="4" y2="4" stroke="{colour}" '
            f'stroke-width="2.5" stroke-dasharray="{dash}"/></svg>')


def panel(curves, look, x, xlabel, title, salt, marks, limits, inches):
    """One panel as SVG text, the same text every time.

    curves: {name: frame with the columns x, accuracy, std, low, high, sorted by x}; std: over runs, drawn as bars where
    there are several; look: {name: (colour, dashes)}; salt: keeps the ids of one panel apart from those of another on
    the same page; marks: {x: colour} of short ticks on the axis; limits: of the accuracies, in percent;
    inches: its width.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):
        canvas = Canvas(figsize=(inches, INCHES), layout="constrained")
        axes = canvas.subplots()
        for name, curve in curves.items():
            colour, dashes = look[name]
            low, high = 100 * curve["low"], 100 * curve["high"]
            axes.fill_between(curve[x], low, high, color=colour, alpha=0.25 / len(curves) ** 0.7, lw=0)
            axes.plot(curve[x], 100 * curve["accuracy"], dashes, color=colour, marker="o")
            several = curve[curve["std"].notna()]
            if len(several):
                axes.errorbar(several[x], 100 * several["accuracy"], 100 * several["std"], fmt="none", ecolor=colour, capsize=2)
        for mark, colour in marks.items():
            axes.vlines(mark, 0, 0.08, transform=axes.get_xaxis_transform(), color=colour, lw=2.5)
        axes.set(title=title, xlabel=xlabel, ylabel="accuracy, %", ylim=limits)
        svg = text_of(canvas)
    ends = ", ".join(f"{name}: {100 * curve['accuracy'].min():.1f} to {100 * curve['accuracy'].max():.1f} %"
                     for name, curve in curves.items())
    ticks = f". Short ticks at {', '.join(f'{mark:g}' for mark in marks)}" if marks else ""
    return labelled(svg, f"{title}: accuracy against {xlabel}. {ends}{ticks}", inches)


def limits_of(parts):
    """The ends of an axis that has room for all points of some panels, with their bands and bars, in percent."""
    points = pd.concat(parts)
    bars = points["std"].fillna(0)
    low = min(points["low"].min(), (points["accuracy"] - bars).min())
    high = max(points["high"].max(), (points["accuracy"] + bars).max())
    room = 0.04 * (high - low)
    return 100 * (low - room), 100 * (high + room)


def drawing(draw, title, xlabel, ylabel, alt, salt, inches=INCHES, height=INCHES):
    """One panel as SVG text, the same text every time; `draw` is called with its axes. alt: what it shows, in words.

    salt: keeps the ids of one panel apart from those of another on the same page; inches, height: its size.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):
        canvas = Canvas(figsize=(inches, height), layout="constrained")
        axes = canvas.subplots()
        draw(axes)
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        svg = text_of(canvas)
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)  # a hundredth of a point is fine enough: a third of the text
    return labelled(svg, f"{title}: {alt}", inches)


def heatmap(frame, limits, xlabel, ylabel, title, salt):
    """A frame of percentages (NaN: not measured) as coloured cells with their numbers, rows from top to bottom: HTML, an SVG that
    scrolls where it has no room.

    limits: the percentages of the first and the last colour, which what lies beyond has as well; salt: as for `panel`.
    """
    import seaborn  # here, as its import is slow and only one page has a map

    (low, high), inches = limits, 0.74 * len(frame.columns) + 2.6
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt, "axes.grid": False}):
        canvas = Canvas(figsize=(inches, 0.4 * len(frame) + 1.8), layout="constrained")
        axes = canvas.subplots()
        seaborn.heatmap(frame, vmin=low, vmax=high, cmap=HEAT, annot=True, fmt=".0f", cbar=False, ax=axes)
        for text in axes.texts:  # black or white, whichever contrasts more
            text.set_color("#ffffff" if (float(text.get_text()) - low) / max(high - low, 1e-9) < 0.47 else "#000000")
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        axes.set_xticks(np.arange(len(frame.columns)) + 0.5, frame.columns, rotation=40, ha="left", rotation_mode="anchor")
        axes.set_yticks(np.arange(len(frame)) + 0.5, frame.index)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.xaxis.set_label_position("top")
        svg = text_of(canvas)
    rows = "; ".join(f"{name}: {row.min():.0f} to {row.max():.0f} %" for name, row in frame.iterrows())
    svg = labelled(svg, f"{title}. {ylabel}: {rows}", inches).replace('style="', f'style="min-width:{5 * inches:g}rem;', 1)
    return f'<div class="table-scroll" tabindex="0" role="region" aria-label="{escape(title, quote=True)}">{svg}</div>'


def text_of(canvas):
    """A canvas as SVG text without dates and ids of its own, its INK the colour of the page's text."""
    file = io.StringIO()
    canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg"):].replace(INK, "currentColor")
    return re.sub("<metadata>.*?</metadata>", "", re.sub('<g id="[^"]*"', "<g", svg), flags=re.DOTALL)


def labelled(svg, alt, inches=INCHES):
    """SVG text, so many inches wide, with what it shows in words, for readers who do not see it."""
    size = f"width:100%;max-width:{7 * inches:g}rem;height:auto"
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt, quote=True)}" style="{size}"', 1)


def of_draws(M):
    """The colour of a number of votes: a step for each doubling, up to 256."""
    return to_hex(DRAWS(np.log2(M) / 8))


def of_sigma(sigma):
    """The colour of a strength of the input noise, in normalised units."""
    return to_hex(NOISE(sigma / 0.48))


def shown(triple, digits=2, factor=1):
    """[mean, low, high] as text: mean (low to high)."""
    mean, low, high = (minus(factor * value, digits) for value in triple)
    return f"{mean} ({low} to {high})" if "−" in low else f"{mean} ({low}–{high})"


def listed(lines):
    """A Markdown list, in which what is read in one breath stays on a line; what the page says where there is nothing to list."""
    text = "\n".join(f"- {line}" for line in lines) or f"{NOT_YET.capitalize()}."
    return re.sub(" (?=[=±%])|(?<=[=±]) ", "\u00a0", text)
