"""A Sphinx extension that mends, in the written pages, what the theme and docutils tell screen readers wrongly and links that
hold in JupyterLab alone, and leaves out what they load for nothing.

axe-core names the faults, and tests/test_axe.py checks that none is left. Each mend says what it replaces; one that no
longer finds anything can go.
"""

import re
from pathlib import Path

MENDS = (
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


def _mend(app, error):
    if error is None and app.builder.format == "html":
        for page in Path(app.outdir).rglob("*.html"):
            page.write_text(mended(page.read_text(encoding="utf-8")), encoding="utf-8")


def setup(app):
    app.connect("build-finished", _mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
