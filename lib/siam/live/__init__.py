"""The network itself, live: in the book a page that runs in the browser, in JupyterLab a widget for any checkpoint.

    from siam.live import Live, page
    Live("../data/checkpoints/gauss-long-0.safetensors")  # in JupyterLab, whose folder is notebooks/
    page()                                              # in the book

No torch: the network is `engine.wasm`, the front end the scripts of this folder, one source for both.
"""

import json
import zlib
from pathlib import Path

import anywidget
import traitlets as t

from siam import cifar10, export
from siam.files import write_text
from siam.live import record as records
from siam.live.static import Page
from siam.paths import CHECKPOINTS, RESULTS, SHIPPED

FOLDER = Path(__file__).parent
FRONT_END = ("engine.js", "votes.js", "lab.js", "view.js", "controls.js", "hundred.js", "page.js")
CONTROLS = ("sigma", "draws", "epsilon", "steps", "samples")


def source(*names):
    """The scripts of this folder, one after the other."""
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


def style():
    """The style of the page: the explorer's, which it shares, and its own."""
    return (FOLDER.parent / "explorer.css").read_text(encoding="utf-8") + source("live.css")


def _shown(record):
    """[(number, group)] of the images that the page shows, in its order."""
    return [(i, key) for key, numbers in records.choose(record["images"]).items() for i in numbers]


def about(record, digest=None, noisy=True, results=RESULTS):
    """What the front end is told of images, opening setting and recorded accuracy, as plain lists and dicts.

    The groups and what was recorded are left out where `digest` says that the network is another than the record's.
    """
    known = digest in (None, record["digest"])
    groups = [{"key": key, "title": title, "count": sum(records.group(image) == key for image in record["images"])}
              for key, title in records.GROUPS.items()]
    setting = {name: record["setting"][name] for name in CONTROLS}
    return {
        "images": [{"number": i, "label": record["images"][i]["label"], "group": key if known else "all"}
                   for i, key in _shown(record)],
        "groups": groups if known else [{"key": "all", "title": "Test images", "count": None}],
        "n": record["n"],
        "setting": setting,
        "noisy": noisy,
        "pixel_std": round(cifar10.PIXEL_STD, 4),
        "accuracy": records.accuracy(record) if known else None,
        "others": records.others(record) if known else None,
        "book": {"label": record["label"], "setting": setting | {"weightNoise": True, "noisyAttack": True},
                 "counts": records.robust(record, export.IMAGES, results)} if known else None,
    }


def shown(record):
    """The bytes of the images that the page shows, in its order."""
    return export.sample([number for number, _ in _shown(record)])


def page(results=RESULTS):
    """The book's page: without a script a picture and a table of what was measured, which the script replaces."""
    record = records.read(results)
    return Page(record, record and about(record, results=results))


def _measured(results=RESULTS):
    record = records.read(results)
    if record is None:
        raise ValueError(f"{records.path(results)} is missing: run python -m siam.live.choose")
    return record


def write(folder, checkpoints=CHECKPOINTS, results=RESULTS):
    """Write all that the book's page loads into `folder`.

    Raises ValueError where there is no record of the images, or the checkpoint is not the one that it is of.
    """
    record, folder = _measured(results), Path(folder)
    path = Path(checkpoints) / f"{records.CHECKPOINT}.safetensors"
    _, said = export.checkpoint(path)
    if said["digest"] != record["digest"]:
        raise ValueError(f"{path.name} has the digest {said['digest']}, but the record of the images has {record['digest']}:"
                         " run python -m siam.live.choose")
    export.write(path, folder)
    start = f"siamLive.start({json.dumps(source('worker.js'))}, {json.dumps(style())});\n"
    for name, text in {
        "shown": export.script("shown", shown(record)),
        "live": source(*FRONT_END, "book.js") + start,
    }.items():
        write_text(folder / f"{name}.js", text)


class Live(anywidget.AnyWidget):
    """The live page with the network of a checkpoint (a path), in JupyterLab; it runs in the reader's browser.

    The images are those of the book's page. Raises as `siam.export.parts` does, in one line, for a file that is no
    checkpoint or has noise that the page cannot draw, and ValueError where nothing was measured of the images.
    """

    _css = style()
    _esm = source(*FRONT_END, "widget.js")

    about = t.Dict().tag(sync=True)
    worker = t.Unicode(source("worker.js")).tag(sync=True)
    engine = t.Bytes(zlib.compress(export.ENGINE.read_bytes())).tag(sync=True)
    coarse = t.Bytes().tag(sync=True)
    fine = t.Bytes().tag(sync=True)
    shown = t.Bytes().tag(sync=True)
    images = t.Bytes().tag(sync=True)

    def __init__(self, checkpoint):
        coarse, fine = export.parts(checkpoint)
        _, said = export.checkpoint(checkpoint)
        record = _measured(SHIPPED)  # what is known of the images, wherever the network is
        packed = {"coarse": coarse, "fine": fine, "shown": shown(record), "images": export.sample(range(export.IMAGES))}
        super().__init__(about=about(record, said["digest"], said["variant"] != "plain", SHIPPED),
                         **{name: zlib.compress(content) for name, content in packed.items()})
