"""What all studies and their pages have in common: nothing measured is said, and what is no record is refused and stays."""

from functools import partial
from importlib import import_module

import pytest
from conftest import say_nothing_is_measured

SHOWN = {  # by its name, which is the kind of its record too: what the page of a study shows
    "adaptive": lambda page: (page.accuracies, page.leads, page.in_words),
    "batchnorm": lambda page: (partial(page.changes, 1),),
    "boundary": lambda page: (page.maps, page.lines, page.competing, page.certified),
    "gradients": lambda page: (page.attacked, page.perturbations, page.input_gradients, page.looks, page.cosines, page.gradient_cosines,
                               page.averaging),
    "learnt": lambda page: (page.curves, page.descents, page.comparison),
    "strength": lambda page: (page.curves, page.choice, page.in_words),
    "svm": lambda page: (page.expected_loss, page.averages, page.in_words, page.along, page.averaging, page.losses),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_a_page_of_nothing_says_so(kind, tmp_path):
    assert say_nothing_is_measured(SHOWN[kind](import_module(f"siam.pages.{kind}")), tmp_path)


@pytest.mark.parametrize("kind", SHOWN)
@pytest.mark.parametrize("text, why", [
    ("no JSON", "not valid JSON"), ("[]", "its kind must be KIND"), ('{"kind": "training"}', "its kind must be KIND"),
    ('{"kind": "KIND"}', "it has no [a-z]+")])
def test_what_is_no_record_is_refused_in_one_line_and_stays(kind, text, why, tmp_path):
    study, page = (import_module(f"siam.{of}.{kind}") for of in ("studies", "pages"))
    path, text = tmp_path / page.PLACE, text.replace("KIND", kind)
    path.parent.mkdir()
    path.write_text(text)
    said = f"{path.name}: not a record: {why.replace('KIND', kind)}"
    with pytest.raises(ValueError, match=said) as refused:
        page.read(tmp_path)
    assert "\n" not in str(refused.value)
    with pytest.raises(SystemExit, match=f"^error: .*{said}"):
        study.main(["--record", str(path)])
    assert path.read_text() == text


@pytest.mark.parametrize("kind", ["batchnorm", "gradients"])
@pytest.mark.parametrize("n", [0, 7, -100, 100])
def test_images_that_make_no_interval_are_refused(kind, n, tmp_path):
    with pytest.raises(ValueError, match=f"images = {n}: give a multiple of 100"):
        import_module(f"siam.studies.{kind}").measure(tmp_path / "x.json", n)
