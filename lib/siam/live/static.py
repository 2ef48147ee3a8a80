"""The live page where no script runs: a picture of the images and a table of what was measured of them."""

import base64
import json
from html import escape

import matplotlib
from matplotlib.figure import Figure

from siam import cifar10
from siam.live.record import GROUPS, SHOWN
from siam.pages.style import data_uri, png_of
from siam.report import NOT_YET

SCRIPT = "../_static/live/live.js"


def _images(about):
    """[(its group's title, number, pixels uint8 [32, 32, 3])] in the order of the page."""
    shipped = cifar10.sample()["test_images"]
    return [(GROUPS[image["group"]], image["number"], shipped[image["number"]]) for image in about["images"]]


class Page:
    """The book's live page: as HTML the table, with the script that replaces it; as a picture the images and votes.

    record: as `siam.live.record.read` gives it, None where nothing was measured; about: what the script is told.
    """

    def __init__(self, record, about):
        self.record, self.about = record, about

    def __repr__(self):
        if self.record is None:
            return f"The network, live: {NOT_YET}"
        rows = ["{:<24} {:<11} {:>19} {:>15}  {}".format(*row) for row in [HEAD, *self._rows()]]
        return "\n".join([self._caption(), *rows])

    def _caption(self):
        s, n = self.record["setting"], self.record["n"]
        return (f"{len(self.about['images'])} of the first {n} test images, and the votes of {s['draws']} noisy passes"
                f" for their own class before and after {s['attacks']} PGD attacks, each from a different random start:"
                f" {self.record['label']}, σ = {s['sigma']}, ε = {s['epsilon']}/255, {s['steps']} steps."
                f" Right without noise: after how many of the attacks made against it the network without noise is still right."
                f" Tier {self.record['tier']}, record live/images.json. {self.about['accuracy']} {self.about['others']}")

    def _rows(self):
        """(group, class, right without noise, votes on the original, votes on the attacked) as text for each image."""
        for title, number, _ in _images(self.about):
            row = self.record["images"][number]
            right = sum(answer == row["label"] for answer in row["plain_attacked"])
            yield (title, cifar10.CLASSES[row["label"]], f"{right} of {len(row['plain_attacked'])}", str(row["votes"]),
                   ", ".join(map(str, row["votes_attacked"])))

    def _repr_html_(self):
        if self.record is None:
            return f'<p class="missing">The network, live: {NOT_YET}.</p>'
        head = "".join(f'<th scope="col">{name}</th>' for name in ("Image", *HEAD))
        body = "\n".join(
            "<tr><td>" + _img(pixels, f"{row[1]}, test image {number}") + "</td>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for (_, number, pixels), row in zip(_images(self.about), self._rows()))
        data = json.dumps(self.about, separators=(",", ":"), ensure_ascii=False).replace("</", r"<\/")
        return (f'<div class="siam-live-page"><script type="application/json">{data}</script>\n'
                f'<figure class="numbers live-static"><figcaption>{escape(self._caption())}</figcaption>\n'
                f'<div class="table-scroll" tabindex="0" role="region" aria-label="The images and their votes">\n'
                f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>\n</table></div></figure></div>\n"
                f'<script src="{SCRIPT}" onerror="this.previousElementSibling.firstChild.remove()"></script>')

    def picture(self):
        """The images by group with the votes for their class, as PNG bytes."""
        with matplotlib.rc_context({"font.size": 8}):
            figure = Figure(figsize=(7, 1.45 * len(GROUPS)), layout="constrained")
            grid = figure.subplots(len(GROUPS), -(-SHOWN // len(GROUPS)) + 1, squeeze=False)
            for axes in grid.flat:
                axes.axis("off")
            places = {title: iter(range(1, grid.shape[1])) for title in GROUPS.values()}
            for row, title in enumerate(GROUPS.values()):
                grid[row, 0].text(0, 0.5, title.replace(" ", "\n"), va="center")
            for (title, _, pixels), (_, name, _, clean, attacked) in zip(_images(self.about), self._rows()):
                place = next(places[title], None)
                if place is not None:
                    axes = grid[list(GROUPS.values()).index(title), place]
                    axes.imshow(pixels, interpolation="nearest")
                    axes.set_title(f"{name}\n{clean} → {attacked}", fontsize=7)
            return png_of(figure)

    def _repr_mimebundle_(self, **_):
        found = {"text/plain": repr(self), "text/html": self._repr_html_()}
        if self.record is not None:
            found["image/png"] = base64.b64encode(self.picture()).decode()
        return found


HEAD = ("Group", "Class", "Right without noise", "Votes, original", "Votes, attacked")


def _img(pixels, alt):
    return f'<img src="{data_uri(pixels)}" width="40" height="40" alt="{escape(alt, quote=True)}">'
