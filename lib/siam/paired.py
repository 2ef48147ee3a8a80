"""Differences between cells (`siam.report.cells`), and how sure they are.

All networks are tested on the same images, and votes of one evaluation seed and batch size share their random numbers, so most of
what makes one accuracy unsure makes the other one so as well. Where the records say which images were right, a difference is taken image by
image, and its standard error has two parts:

- images and draws of the noise: the batches are the sample, as those of one batch share their draws. A cell counts with all its seeds,
  also beside one that has fewer: so the differences of a table add up, and what a single draw leaves unsure is in the ±;
- training, where networks of different trainings are compared: another seed would have given others. How different is read
  off networks that were trained several times, at the cells' own tier or the one nearest to it that has such. Fine-tuned
  from one network, or with that network, they share the luck of its training, and differ by what fine-tuning adds. A network
  compared with itself has no such part: what its ± leaves out is that the difference might be another after another training.
  Where what changes within one network is compared with what changes within another, each of their cells has its own.

Where the records do not say so, or no network was trained several times, two cells count as if they shared no images; what
another training changes is added where that is known.
"""

from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np
from scipy.stats import norm, t

from siam import bits, runs
from siam.report import NOT_YET, measured_on, signed, warning


@dataclass(frozen=True)
class Difference:
    """Points of accuracy, ± half a 95 % interval by Student's t, and what they were measured on.

    error: standard error; freedom: its degrees of freedom. comparisons: how many shall all keep the 95 % (Bonferroni).
    each: the difference of every image in points [n], or None; batch: images that share their draws. luck: of the error²,
    what another training might change, and its degrees of freedom.
    """

    points: float
    error: float
    freedom: float
    tier: str = ""
    n: int = 0
    runs: int = 0
    ids: tuple = ()
    each: np.ndarray | None = field(default=None, repr=False, compare=False)
    batch: int = 0
    luck: tuple = (0.0, np.inf)
    comparisons: int = 1

    @property
    def half(self):
        return t.ppf(1 - 0.025 / self.comparisons, self.freedom) * self.error

    low = property(lambda self: self.points - self.half)
    high = property(lambda self: self.points + self.half)
    unsure = property(lambda self: self.low <= 0 <= self.high)  # not told apart from zero

    @property
    def half_alone(self):
        """What `half` would be if no other training could have changed it: images and draws alone."""
        freedom = np.inf if self.each is None else runs.batches(len(self.each), self.batch) - 1
        alone = max(self.error**2 - self.luck[0], 0)  # where luck is all there is, rounding may leave less than nothing
        return t.ppf(1 - 0.025 / self.comparisons, freedom) * np.sqrt(alone)

    def among(self, comparisons):
        """As one of so many (times those that it is one of already), of which all are to keep the 95 %."""
        return replace(self, comparisons=self.comparisons * comparisons)

    def __str__(self):
        # More digits where fewer would not say on which side of zero the interval ends, or that there is one.
        digits = 1
        while digits < 3 and (f"{abs(self.points):.{digits}f}" == f"{self.half:.{digits}f}" != f"{0:.{digits}f}"
                              or 0 < self.half < 0.5 * 10**-digits):
            digits += 1
        return f"{signed(self.points, digits)} ± {self.half:.{digits}f}"


def combine(*terms):
    """(weight, cell) … -> their sum, a Difference; None where a cell is None or they differ in tier or number of images.

    Cells of one kind of network (label, method, recipe) are compared on the trainings that all of them have, where there are any.
    """
    cells = [cell for _, cell in terms]
    if any(cell is None for cell in cells) or len({measured_on(cell) for cell in cells}) > 1:
        return None
    kinds = {}
    for weight, cell in terms:
        kinds.setdefault((cell["label"], cell["method"], cell["recipe"]), []).append((weight, cell))
    kinds = list(kinds.values())
    kept = [(weight, cell, _kept(cell, of)) for of in kinds for weight, cell in of]
    about = dict(tier=cells[0]["tier"], n=cells[0]["n"], runs=min(sum(which) for *_, which in kept))
    luck, (each, ids) = _luck_of(kinds), _by_image(kept)
    if luck is not None and each is not None:
        return by_image(each, max(cell["batch_size"] for cell in cells), luck, ids=ids, **about)
    apart, luck = sum((weight * _error(cell)) ** 2 for weight, cell in terms), luck or (0.0, np.inf)
    points = 100 * sum(weight * np.mean(list(compress(cell["accuracies"], which))) for weight, cell, which in kept)
    freedom = (apart + luck[0]) ** 2 * luck[1] / luck[0] ** 2 if luck[0] else np.inf
    ids = tuple(sorted({id for _, cell, which in kept for id in compress(cell["ids"], which)}))
    return Difference(points, np.sqrt(apart + luck[0]), freedom, luck=luck, ids=ids, **about)


def less(one, other):
    """One cell less another: a Difference or None, as `combine`."""
    return combine((1, one), (-1, other))


def averaged(differences):
    """Those of some Differences that `mean_of` is of: of the best tier and its number of images, those taken image by image, if any."""
    best = max(((runs.TIERS.index(one.tier), one.n) for one in differences), default=None)
    found = [one for one in differences if (runs.TIERS.index(one.tier), one.n) == best]
    return [one for one in found if one.each is not None] or found


def mean_of(differences):
    """The mean of Differences (`averaged`), some of which may be None; None without any.

    Those that were taken image by image are averaged so, and the others left out. Where there are only others, the mean's
    standard error is the mean of theirs, with the fewest degrees of freedom, and no part of it counts as luck.
    """
    found = averaged([one for one in differences if one is not None])
    if not found:
        return None
    about = dict(tier=found[0].tier, n=found[0].n, runs=min(one.runs for one in found),
                 ids=tuple(sorted({id for one in found for id in one.ids})))
    if any(one.each is None for one in found):
        return Difference(*(np.mean([getattr(one, name) for one in found]) for name in ("points", "error")),
                          min(one.freedom for one in found), **about)
    luck = np.mean([np.sqrt(one.luck[0]) for one in found]) ** 2, min(one.luck[1] for one in found)
    return by_image(np.mean([one.each for one in found], 0), max(one.batch for one in found), luck, **about)


def shares(one, other, **about):
    """The Difference of two shares {"share", "low", "high"}, as if they had no image in common."""
    return Difference(100 * (one["share"] - other["share"]), np.hypot(_error(one), _error(other)), np.inf, **about)


def by_image(each, batch, luck=(0.0, np.inf), **about):
    """The Difference whose value for each image is given, in points [n]; `batch` images share their draws.

    Raises ValueError, one line, for fewer than two batches: one alone does not say how much others would differ.
    """
    error, freedom = runs.error_over_batches(each, batch)
    parts = [(error**2, freedom), luck]
    variance = sum(part for part, _ in parts)
    # Welch and Satterthwaite: the degrees of freedom of a sum of variances that are known to different degrees
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts) if variance else np.inf
    return Difference(each.mean(), np.sqrt(variance), freedom, each=each, batch=batch, luck=luck, **about)


def of_images(one, other, batch, luck=(0.0, np.inf), **about):
    """What `one` has more than `other`, each which images were right [n]: a Difference, as `by_image` has it."""
    return by_image(100.0 * one - 100.0 * other, batch, luck, **about)


def interval_of(values, batch):
    """[mean, low, high] of a value per image [n], its 95 % interval as `by_image` has it."""
    one = by_image(np.asarray(values, float), batch)
    return [float(value) for value in (one.points, one.low, one.high)]


def over_batches(means, **about):
    """The Difference whose value in each batch is given, in points: batches are the sample. Raises ValueError for fewer than two."""
    return by_image(np.asarray(means, float), 1, **about)


def of_differences(used):
    """The end of the caption of a table of Differences."""
    return f" (± half a 95 % interval).{warning(one.tier for one in used)}" if used else f". {NOT_YET.capitalize()} by us."


def ids_of(cells):
    return tuple(sorted({id for cell in cells if cell is not None for id in cell["ids"]}))


def _error(cell):
    """The standard error, in points, that half a 95 % interval amounts to."""
    return 100 * (cell["high"] - cell["low"]) / 2 / norm.ppf(0.975)


def _kept(cell, of):
    """Which runs of a cell count beside the others `of` its kind, each (weight, cell): those of the trainings that all of them have."""
    shared = set.intersection(*(set(cell["networks"]) for _, cell in of))
    return [network in shared or not shared for network in cell["networks"]]


def _by_image(kept):
    """The weighted sum of (weight, cell, which of its runs count) for each image [n], in points, and the ids of the records that it is
    of; None and () where that is not known."""
    each, ids = 0, set()
    for weight, cell, which in kept:
        right = list(compress(cell["right"], which))
        if any(packed is None for packed in right) or 2 * cell["batch_size"] > cell["n"]:
            return None, ()
        each = each + 100 * weight * np.mean([bits.row(packed, cell["n"]) for packed in right], 0)
        ids.update(compress(cell["ids"], which))
    return each, tuple(sorted(ids))


def _luck_of(kinds):
    """What another training might change in the sum of all kinds of network, each a list of (weight, cell): of the error², its
    part and degrees of freedom; None where it is not known.

    Kinds that were fine-tuned from the same networks, and those themselves, are a family: what luck the start had they all have,
    and what fine-tuning adds by luck each has for itself.
    """
    families, moved = {}, []  # moved: how often a variance counts, and that
    for of in kinds:
        cell, shared = of[0][1], set.intersection(*(set(cell["networks"]) for _, cell in of))
        if not shared:
            moved += [(weight**2 * times, luck) for weight, cell in of for times, luck in _lucks(cell)]
            continue
        roots = frozenset(root for network, root in zip(cell["networks"], cell["roots"]) if network in shared)
        one = roots if cell["tuning"] else shared  # as if trained independently, where nobody knows what fine-tuning adds
        families.setdefault(frozenset(one), []).append((of, len(roots), len(shared)))
    only = len(families) == 1 and not moved
    for family in families.values():
        of, trained, _ = family[0]
        moved.append((_times([term for terms, *_ in family for term in terms], only) / trained, of[0][1]["luck"]))
        moved += [(_times(of, only and len(family) == 1) / tuned, luck) for of, _, tuned in family for luck in _added(of[0][1])]
    moved = [(times, luck) for times, luck in moved if times > 1e-12]
    return None if any(luck is None for _, luck in moved) else sum_of(moved)


def sum_of(moved):
    """(variance, degrees of freedom) of a sum of lucks, each given as (how often its variance counts, that and its freedom).

    Equal ones are one estimate, which is no better known for its counting twice; of others Welch and Satterthwaite have the freedom.
    """
    each = {}
    for times, luck in moved:
        each[luck] = each.get(luck, 0) + times
    parts = [(times * variance, freedom) for (variance, freedom), times in each.items()]
    total = sum(part for part, _ in parts)
    return total, total**2 / sum(part**2 / freedom for part, freedom in parts) if total else np.inf


def luck_of(cell):
    """What another training might change in the accuracy of a cell: (variance in points², degrees of freedom); (0, inf) where unknown."""
    return sum_of((times, luck) for times, luck in _lucks(cell) if luck is not None)


def _lucks(cell):
    """[(how often its variance counts in the accuracy of a cell, luck)]: that of the trainings from scratch, and of fine-tuning."""
    return [(1 / len(set(cell["roots"])), cell["luck"]), *((1 / len(set(cell["networks"])), luck) for luck in _added(cell))]


def _added(cell):
    """The luck of fine-tuning, of a cell whose network was fine-tuned and where it is known, else nothing."""
    return [cell["tuning"]] if cell["roots"] != cell["networks"] and cell["tuning"] else []


def _times(terms, alone):
    """How often the variance of one accuracy counts in a sum of (weight, cell) that share a training: alone, or beside others.

    What another training does to one cell of a network it does to its others too, but only in part, and how far has not been
    measured. Beside other trainings the most that it may come to is taken: as if it did each by itself.
    """
    each = {}
    for weight, cell in terms:
        place = tuple(cell[name] for name in ("rule", "M", "sigma", "attack", "epsilon"))
        each[place] = each.get(place, 0) + weight
    net = sum(each.values()) ** 2
    return net if alone else max(net, sum(weight**2 for weight in each.values()))
