"""A grid of small pictures, for pages that show images. No torch."""

from html import escape


from siam.pages.style import data_uri, wide


class Grid:
    """A grid of small pictures for the page (HTML) and its caption for the console.

    rows: a name for each; columns: {(name, second line): pictures uint8 [len(rows), H, W, 3]}; the first column and
    the names of the rows stay in place while a narrow screen scrolls through the others. width: of a picture, in rem.
    keys: where pictures are maps, {what a colour is: the colour} for each row, which then stands in place of its name.
    """

    def __init__(self, caption, rows, columns, width=4.4, keys=()):
        self.caption, self.rows, self.columns, self.width, self.keys = caption, rows, columns, width, keys

    def __repr__(self):
        return self.caption

    def _repr_html_(self):
        caption = f"<figcaption>{escape(self.caption)}</figcaption>"
        if not self.columns:
            return f'<figure class="panels missing">{caption}</figure>'
        # A heading may be two pictures wide: neighbours that only differ in the second line share it.
        names = [name for name, _ in self.columns]
        first = "".join(_heading(name, names.count(name), self.width, i == 0) for i, name in enumerate(dict.fromkeys(names)))
        second = "".join(f'<th scope="col" style="{CELL}{STICKY if i == 0 else ""}">{escape(text)}</th>'
                         for i, (_, text) in enumerate(self.columns))
        body = "\n".join(f"<tr>{self._row(k)}</tr>" for k in range(len(self.rows)))
        name, kind = escape(self.caption.split(".")[0], quote=True), wide(len(self.columns) * (self.width + BETWEEN))
        return (f'<figure class="numbers">{caption}\n'
                f'<div class="table-scroll" tabindex="0" role="region" aria-label="{name}">\n'
                f'<table style="border-collapse:collapse;font-size:.72rem;min-width:0">\n<thead><tr>{first}</tr>'
                f"<tr>{second}</tr></thead>\n<tbody{kind}>{body}</tbody>\n</table></div></figure>")

    def _row(self, k):
        cells = []
        for i, ((name, text), pictures) in enumerate(self.columns.items()):
            alt = f"{self.rows[k]}, {name}" + (f", {text}" if text else "")
            picture = _img(pictures[k], alt, self.width)
            if i == 0:  # a row is named under its source image, where there is room on a phone
                cells.append(f'<th scope="row" style="{CELL}{STICKY}">{picture}'
                             f'<span style="display:block;{NARROW}max-width:{self.width + 0.2:.3g}rem">{self._name(k)}</span></th>')
            else:
                cells.append(f'<td style="{CELL}">{picture}</td>')
        return "".join(cells)

    def _name(self, k):
        if not self.keys:
            return escape(self.rows[k])
        return " ".join(f'<span style="white-space:nowrap;margin-right:.4em"><svg width="9" height="9" aria-hidden="true">'
                        f'<rect width="9" height="9" fill="{colour}"/></svg> {escape(name)}</span>'
                        for name, colour in self.keys[k].items())


BETWEEN = 0.25  # rem between two pictures
NARROW = "white-space:normal;font-weight:400;line-height:1.15;overflow-wrap:normal;"
CELL = "padding:2px;border:0;vertical-align:top;text-align:left;"
STICKY = "position:sticky;left:0;z-index:1;background:var(--pst-color-background,Canvas);padding-right:8px;"


def _heading(name, columns, width, first):
    style = f"{CELL}{STICKY if first else ''}line-height:1.2;font-size:.68rem"
    width = f"max-width:{columns * (width + BETWEEN):.3g}rem;white-space:normal;display:block"
    return f'<th scope="colgroup" colspan="{columns}" style="{style}"><span style="{width}">{escape(name)}</span></th>'


def _img(pixels, alt, width):
    """A picture uint8 [H, W, 3] as an <img>, `width` rem wide, that shows its pixels as squares."""
    style = f"image-rendering:pixelated;width:{width}rem;max-width:none;height:auto;display:block"
    height, across, _ = pixels.shape
    return (f'<img src="{data_uri(pixels)}" width="{across}" height="{height}" alt="{escape(alt, quote=True)}"'
            f' style="{style}">')
