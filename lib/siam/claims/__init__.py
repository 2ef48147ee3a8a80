"""What the paper says in words, held against the records: a verdict for each claim, and the numbers behind it.

`data/paper/claims.csv` lists the claims; each names the function that decides it, in the module of its section, by the rules
of `siam.claims.rules`.
"""

import re
from dataclasses import replace
from html import escape
from pathlib import Path

import pandas as pd
from scipy.stats import chi2, t

from siam import runs
from siam.claims import section1, section3, section4, section5, section6
from siam.claims.rules import HOLDS, PART, VERDICTS, read
from siam.pages.style import Table, links, unfilled
from siam.paths import PAPER, RESULTS
from siam.report import ALL_KINDS, ATTACKS, NOT_YET, evaluations, luck, warning

SECTIONS = {"a": "The abstract", "1": "Section 1: Introduction", "3": "Section 3: Randomized smoothing",
            "4": "Section 4: Training a smoothed classifier", "5": "Section 5: Experiments", "6": "Section 6: Conclusions"}
# Other pages are named as they are called.
PAGES = {"attackers": "adaptive", "decision boundaries": "boundary", "noise strength": "learnt", "the SVM argument": "svm"}
# By name, the functions that decide: (Measured, the number the paper gives or NaN) -> Verdict
CLAIMS = {name: function for section in (section1, section3, section4, section5, section6)
          for name, function in vars(section).items()
          if getattr(function, "__module__", "") == section.__name__ and not name.startswith("_")}


def listed(folder=PAPER):
    """The claims, a row each: id, section, claim (the paper's words), number (a size it gives), compared (what is
    measured for it), decided_by (a function of the module of its section), page (where the numbers are)."""
    return pd.read_csv(Path(folder) / "claims.csv", dtype={"id": str, "section": str})


def verdicts(folder=RESULTS):
    """Each row of `listed` with its verdict, evidence, tier and ids: of the tier where the fewest comparisons are missing, of several
    such the best; where nowhere any is measured, of the best that has a level to show. The evidence names tiers that say otherwise."""
    tiers, rows = read(folder), listed()
    each = [[CLAIMS[row.decided_by](measured, row.number) for measured in tiers] for row in rows.itertuples()]
    found = [_beside(min(of, key=lambda one: (one.verdict == NOT_YET, one.missing, not one.tier)), of) for of in each]
    return rows.assign(**{name: [getattr(one, name) for one in found] for name in ("verdict", "evidence", "tier", "ids")})


def _beside(verdict, others):
    """A Verdict whose evidence names what `others`, of other tiers, say otherwise. Where comparisons are missing, what holds in the rest is
    said to hold in part: that is nothing else than that it holds."""
    unlike = {one.tier: one for one in others if one.verdict not in (NOT_YET, verdict.verdict) and one.tier != verdict.tier
              and not (one.missing and {one.verdict, verdict.verdict} == {HOLDS, PART})}
    said = "".join(f" At tier {tier}{f', where comparisons are missing ({one.missing})' if one.missing else ''}: {one.verdict}."
                   for tier, one in unlike.items())
    return replace(verdict, evidence=verdict.evidence + said)


def count(rows):
    """How many of `verdicts` there are of each kind, and on records of which tier: a Table."""
    tiers = [tier for tier in reversed(runs.TIERS) if tier in set(rows["tier"])]
    lines = []
    for verdict in VERDICTS:
        of = rows[rows["verdict"] == verdict]
        shown = {f"at tier {tier}": "" if verdict == NOT_YET else str(sum(of["tier"] == tier)) for tier in tiers}
        lines.append({"Rows": f"all {len(rows)} claims", "Verdict": verdict, "Claims": str(len(of)), **shown})
    return Table(pd.DataFrame(lines), "Verdicts, and the worst tier of the records behind them.", 1)


def table(rows):
    """The rows of `verdicts` with what each rests on: a Table."""
    words = [one.verdict + (f", at tier {one.tier}" if one.tier and one.verdict != NOT_YET else "") for one in rows.itertuples()]
    frame = pd.DataFrame({"Part": rows["section"].str[0].map(SECTIONS), "Claim": rows["id"], "The paper says": rows["claim"],
                          "Section": rows["section"], "Verdict": words, "Compared": rows["compared"], "Found": rows["evidence"],
                          "Page": rows["page"], "Records": rows["ids"]})
    caption = (f"The paper's claims, {len(rows)} of them. Differences in points of accuracy ± half their 95 % interval,"
               f" taken image by image where the records say which images were right.{warning(rows['tier'])}")
    return _Claims(frame, caption, 1)


def lucks(folder=RESULTS):
    """How much another training changes an accuracy, or what fine-tuning adds, of one pass and of a vote, and how well that is known: a
    Table."""
    frame, lines, used = evaluations(folder), [], []

    def line(kind, network, tier, attack, variance, freedom, sides):
        low, high = (variance * freedom / chi2.ppf([0.975, 0.025], freedom)) ** 0.5
        half = t.ppf(0.975, freedom) * (sides * variance) ** 0.5
        used.append(tier)
        lines.append({"Rows": kind, "Network": network, "Accuracy": ATTACKS[attack], "Std": f"{variance**0.5:.2f}",
                      "95 %": f"{low:.2f}–{high:.2f}", "Degrees of freedom": f"{freedom:.0f}", "By luck alone": f"± {half:.1f}",
                      "Tier": tier})

    for (tier, attack, voted, tuned), (variance, freedom) in sorted(luck(frame).items(), key=lambda one: (one[0][2:], one[0])):
        kind, sides = ("what fine-tuning adds", 1) if tuned else ("a training from scratch", 2)
        line(f"{kind}, {'a vote' if voted else 'one pass'}", tuned or ALL_KINDS, tier, attack, variance, freedom, sides)
    caption = "How far trainings that differ in their seed lie apart, in points: the std, and a 95 % interval of the true std, by χ²"
    if not lines:
        return unfilled(f"{caption}.")
    caption += ". By luck alone: the most that two networks, or a network and its fine-tuned form, may differ by (95 %)"
    return Table(pd.DataFrame(lines), f"{caption}.{warning(used)}", 1)


class _Claims(Table):
    """A table of long texts: they wrap, on a narrow page its rows become blocks, and paper.css shows those of one verdict alone."""

    def _repr_html_(self):
        head = "".join(f'<th scope="col">{name}</th>' for name in ("The paper says", "Verdict", "What we find"))
        html = super()._repr_html_().replace('"numbers"', '"numbers claims"', 1)
        html = html.replace("</figcaption>", f"</figcaption>{self._choice()}", 1)
        return re.sub("<thead>.*</thead>", f"<thead><tr>{head}</tr></thead>", html, count=1)

    def _choice(self):
        found = [_kind(verdict) for verdict in self.frame["Verdict"]]
        kinds = [("all", len(found)), *((kind, found.count(kind)) for kind in VERDICTS if kind in found)]
        each = "".join(f'<label><input type="radio" name="verdict" value="{kind}"{" checked" * (kind == "all")}> {kind} ({count})</label>'
                       for kind, count in kinds)
        return f"<fieldset><legend>Show the claims of one verdict</legend>{each}</fieldset>"

    def _part(self, part, rows):
        title = f'<tr><th scope="rowgroup" colspan="3">{escape(part)}</th></tr>\n'
        return f"<tbody>\n{title}" + "\n".join(self._line(*row) for row in rows) + "\n</tbody>"

    def _line(self, id, claim, section, verdict, compared, found, page, ids):
        found = re.sub(" (=|±|%) ?", lambda sign: sign[0].replace(" ", "\u00a0"), found)  # what is read in one breath stays on a line
        notebook = PAGES.get(page, page.replace(" ", ""))
        where = "abstract" if section == "abstract" else f"section {section}"
        place = f"claim-{id.replace('.', '-')}"  # the theme asks for it as a selector, where a dot would begin a class
        return (f'<tr id="{place}" data-verdict="{_kind(verdict)}"><th scope="row"><q>{escape(claim)}</q> '
                f'<span class="aside">{where}, <a href="#{place}">claim\u00a0{id}</a></span></th>'
                f'<td class="verdict">{escape(verdict)}</td><td><p>{escape(found)}</p>'
                f'<p class="aside">Compared: {escape(compared)}. Page: <a href="{notebook}.ipynb">{escape(page)}</a>.</p>{links(ids)}</td>'
                '</tr>')


def _kind(verdict):
    """Which of VERDICTS a verdict and its tier, as a line of the table has them, is of."""
    return max((kind for kind in VERDICTS if verdict.startswith(kind)), key=len)
