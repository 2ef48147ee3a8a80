"""A Sphinx extension that mends, in the written pages, what the theme and docutils tell screen readers wrongly and links that
hold in JupyterLab alone, leaves out what they load for nothing, and gives widgets a picture for where no script runs.

axe-core names the faults, and tests/test_axe.py checks that none is left. Each mend says what it replaces; one that no
longer finds anything can go.
"""

import json
import re
from html import escape
from pathlib import Path

WIDGET = "application/vnd.jupyter.widget-view+json"
MENDS = (
    # A script sets the reader's scheme; where none runs, "auto" is one that no style sheet has colours for.
    (r'(<html [^>]*)data-theme="auto"', r'\1data-theme="light"'),
    # Names that leave out what is written on the control itself.
    (r'(<button class="btn search-button-field[^>]*?) title="Search" aria-label="Search"', r"\1"),
    (r'(<i class="theme-switch [^>]*?) title="[^"]*"', r"\1"),
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    # The book's title in the sidebar lies in no landmark.
    (r'<div class="sidebar-primary-item">(\s*<a class="navbar-brand logo")',
     r'<div class="sidebar-primary-item" role="navigation" aria-label="Home">\1'),
    # A list of citations whose entries are no list items; their role is deprecated.
    (r' role="doc-biblioentry"', ' role="listitem"'),
    # The icons come as a font too, in the theme's style sheet: the script that draws them again is 1.5 MB.
    (r'<script src="[^"]*/fontawesome\.js[^"]*"></script>\n?', ""),
    # A notebook's output names the pages beside it as JupyterLab opens them.
    (r'(<a href="[a-z0-9]+)\.ipynb"', r'\1.html"'),
    # Heading cells without a heading.
    (r'<th( class="[^"]*")?( scope="col")?( style="[^"]*")?></th>', r"<td\1\3></td>"),
)


def mended(html):
    """The text of a page with all mends made."""
    for fault, mend in MENDS:
        html = re.sub(fault, mend, html)
    return html


def still(html, notebook):
    """The text of a page that has, behind each widget, the picture and the words that its notebook (a dict) holds of it."""
    outputs = [output.get("data", {}) for cell in notebook["cells"] for output in cell.get("outputs", [])]
    held = {data[WIDGET]["model_id"]: data for data in outputs if WIDGET in data and "image/png" in data}

    def beside(view):
        data = held.get(json.loads(view[1])["model_id"])
        if data is None:
            return view[0]
        words, picture = ("".join(data[kind]).strip() for kind in ("text/plain", "image/png"))
        return (f'{view[0]}<noscript><img src="data:image/png;base64,{picture}" alt="{escape(words.splitlines()[0], quote=True)}">'
                f'<pre tabindex="0">{escape(words)}</pre></noscript>')

    return re.sub(rf'<script type="{re.escape(WIDGET)}">(.*?)</script>(?!<noscript>)', beside, html)


def _mend(app, error):
    if error is None and app.builder.format == "html":
        for page in Path(app.outdir).rglob("*.html"):
            text = mended(page.read_text(encoding="utf-8"))
            source = Path(app.srcdir) / page.relative_to(app.outdir).with_suffix(".ipynb")
            if source.exists():
                text = still(text, json.loads(source.read_text(encoding="utf-8")))
            page.write_text(text, encoding="utf-8")


def setup(app):
    app.connect("build-finished", _mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
