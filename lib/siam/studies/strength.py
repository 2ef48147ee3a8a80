"""The noise of the layers made stronger, or weaker, than the network was trained with, as smoothing does with the noise of the input.

    python -m siam.studies.strength

The paper chooses the strength σ of the input noise after training, by what it is worth to the vote. The noise of the layers, which the
vote draws as well, it leaves as training left it. Here its standard deviation is multiplied by k, weights and BatchNorm as they are. An
attacker need not follow: one may attack the network as it was trained, or with all noise off, and have the images judged by the vote of
the stronger noise. What this writes, `RECORD`, is read by `siam.pages.strength`, which draws the page.
"""

from itertools import product

from siam import bits, models, runs
from siam.attacks import error_of
from siam.data import images
from siam.devices import describe
from siam.files import added_to, command
from siam.folding import Folded, without_noise
from siam.models import digest_of
from siam.noise import strengthen
from siam.paths import CHECKPOINTS, RESULTS
from siam.smoothing import powers_of_two
from siam.studies.adaptive import SETTINGS, Attacker, lead_of, measure_one, said_of

RECORD = RESULTS / "strength" / "record.json"
NETWORKS = {"cpni-w-fast-0": (0, 0.5, 1, 1.5, 2, 2.5)}  # checkpoint: k
SIGMAS = (0.0, 0.24)  # normalised units
M = 32
ITSELF, TRAINED, OFF = "itself", "as trained", "off"  # what an attack is made on: the network that votes, with k = 1, without any noise
ATTACKERS = {  # in the order of the page
    "PGD": (Attacker(error_of, 7, 1, 4), ITSELF),
    "EPGD": (Attacker(error_of, 7, 8, 4), ITSELF),
    "EPGD, 32 draws": (Attacker(error_of, 7, 32, 4), ITSELF),
    "EPGD, noise as trained": (Attacker(error_of, 7, 8, 4, still=True), TRAINED),
    "noise off": (Attacker(error_of, 7, 1, 4, still=True), OFF),
    "aimed at the border, noise as trained": (Attacker(lead_of, 160, 1, 16, still=True), TRAINED),
}
ASKED = {"heldout": ("PGD",), "test": ("", *ATTACKERS)}  # split: the attackers that are tried on it, "" for none
CELLS = tuple((checkpoint, k, sigma) for checkpoint, strengths in NETWORKS.items() for sigma, k in product(SIGMAS, strengths))


def networks(checkpoint, k, sigma, checkpoints=CHECKPOINTS):
    """{what an attack is made on: the fast form of that network}; in "itself" the layers' noise is k times what it was trained with."""
    def loaded(sigma):
        return models.load(models.place(checkpoint, checkpoints), sigma)

    stronger = loaded(sigma)
    strengthen(stronger, k)
    return {ITSELF: Folded(stronger), TRAINED: Folded(loaded(sigma)), OFF: without_noise(loaded(0.0))}


def measure(path=RECORD, cells=CELLS, checkpoints=CHECKPOINTS, results=RESULTS, n=1000):
    """Measure every cell (checkpoint, k, σ), clean and under every attacker, and write the record after each; what is there of this very
    network is kept. Returns its path.

    n: images of each split. Raises ValueError, one line, for a file at `path` that is no record or was made with other settings, and for
    an n that is no multiple of the batch, two of which an interval needs; FileNotFoundError for a network or images that are not here.
    """
    runs.in_batches(n, SETTINGS["batch"])
    fixed = SETTINGS | dict(n=n)
    record = added_to(path, "strength", "cells", fixed)
    asked = list(product(cells, ((split, name) for split, names in ASKED.items() for name in names)))
    ranks = {((*cell, *which)): rank for rank, (cell, which) in enumerate(asked)}
    for (checkpoint, k, sigma), (split, name) in asked:
        digest, about = digest_of(checkpoint, checkpoints, results), models.about(models.place(checkpoint, checkpoints))
        attacker, on = ATTACKERS.get(name, (None, ITSELF))
        identity = dict(checkpoint=checkpoint, strength=k, sigma=sigma, split=split, attacker=name, digest=digest,
                        draws=list(powers_of_two(M)), **(said_of(attacker) | dict(on=on) if attacker else {}))
        if any(identity.items() <= cell.items() for cell in record["cells"]):
            continue
        shared = runs.provenance(describe("cpu"))
        nets = networks(checkpoint, k, sigma, checkpoints)
        right, seconds = measure_one(attacker, nets[ITSELF], nets[on], *images(split, n), M)
        this = identity | dict(label=about["label"], trained=about["tier"], tier=runs.tier(about["tier"], split, n), right=bits.pack(right),
                               seconds=round(seconds, 1), commit=shared["commit"])
        kept = [cell for cell in record["cells"] if named(cell) != named(this)]
        record["cells"] = sorted([*kept, this], key=lambda cell: ranks.get(named(cell), -1))
        runs.write_json(path, record | fixed | runs.grown(record, path, shared))
        print(f"{checkpoint}, k = {k:g}, sigma = {sigma:g}, {split}, {name or 'clean'}: {100 * right[-1].mean():.1f} %", flush=True)
    return path


def named(cell):
    """What tells a cell of the record from the others."""
    return tuple(cell[name] for name in ("checkpoint", "strength", "sigma", "split", "attacker"))


def main(arguments=None):
    command("siam.studies.strength", "Make the noise of the layers stronger than it was trained with.", RECORD, measure, arguments)


if __name__ == "__main__":
    main()
