"""What ties change, on the page on section 4.1: a vote of few passes often has no single winner. No torch."""

import numpy as np
import pandas as pd

from siam.pages.bound import ATTACKS, PLACE, interval_of, measured, named, read, sampled
from siam.pages.style import Table, shown, unfilled
from siam.paths import RESULTS
from siam.report import NOT_YET, signed

VOTES = (2, 8, 64)  # M, redrawn from all the passes that were counted
REDRAWN = 50  # times


def tied(votes, labels):
    """(whether several classes lead, how much more often a tie is right by the lowest index than by lot), both [N], of votes [N, 10]."""
    leads = votes == votes.max(1, keepdims=True)
    by_lot = leads[np.arange(len(votes)), labels] / leads.sum(1)
    return leads.sum(1) > 1, (votes.argmax(1) == labels) - by_lot


def redrawn(votes, M):
    """Votes [N, 10] of REDRAWN series of M passes, one after the other, drawn without putting back from the passes of each image."""
    rng = np.random.default_rng(0)
    series = [rng.multivariate_hypergeometric(of, M, REDRAWN) for of in votes]
    return np.stack(series, 1).reshape(-1, votes.shape[1])


def _ties(folder):
    """{cell: {M: [share of images with a tie, then mean, low, high of what the lowest index gains over the lot]}}, and about."""
    counts, labels, about = read(folder)
    found = {}
    for cell, halves in counts.items():
        found[cell] = {}
        for M in VOTES:
            votes = redrawn(halves.sum(0, dtype=int), M)
            several, gain = (of.reshape(REDRAWN, -1).mean(0) for of in tied(votes, np.tile(labels, REDRAWN)))
            found[cell][M] = [several.mean(), *interval_of(gain, about)]
    return found, about


def table(folder=RESULTS):
    """Table: how often the first place is tied, and what giving it to the lowest class index changes."""
    found, about = _ties(folder)
    if not found:
        return unfilled("What ties change")
    rows = [{"Rows": named(cell), "σ": f"{cell[2]:g}",
             **{f"{what}, M\u00a0=\u00a0{M}": text for M, (share, *gain) in of.items()
                for what, text in (("Ties, %", f"{100 * share:.1f}"), ("change, points", shown(gain, 2, 100)))}}
            for cell, of in found.items()]
    caption = (f"What ties change: images whose vote is tied, and by how many points of accuracy giving the tie to the lowest class index"
               f" beats drawing lots. Means over {REDRAWN} series of M passes, drawn from the {about['draws']} that were counted. In"
               f" brackets: {sampled(about)}. {measured(about)}")
    return Table(pd.DataFrame(rows), caption, 1, PLACE)


def in_words(folder=RESULTS):
    """What ties change, over all cells of an attack: a Markdown list."""
    found, about = _ties(folder)
    lines = []
    for attack, name in ATTACKS.items():
        each = [of for cell, of in found.items() if cell[1] == attack]
        said = []
        for M in each[0] if each else ():
            share, gain = (sorted(100 * of[M][i] for of in each) for i in (0, 1))
            said.append(f"{share[0]:.1f} to {share[-1]:.1f}\u00a0% of the images are tied at M\u00a0=\u00a0{M}, and accuracy changes by"
                        f" {signed(gain[0], 2)} to {signed(gain[-1], 2)} points, {signed(sum(gain) / len(gain), 2)} on average")
        if said:
            cells = f"{len(each)} cell{'s' * (len(each) > 1)}"
            lines.append(f"Ties given to the lowest index instead of decided by lot, {name}: {'; '.join(said)} ({cells}).")
    return "\n".join(f"- {line}" for line in [*lines, *([measured(about)] if lines else [])]) or f"{NOT_YET.capitalize()}."
