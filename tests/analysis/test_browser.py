"""The report as a reader meets it: opened, sorted, followed and printed in headless Chromium."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import synthetic
from browser import Page, executable

from analysis import collect, figures, listing, report, tables

DESKTOP, PHONE = 1280, 390  # CSS pixels


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if executable() is None:
        pytest.skip("needs Chromium, and none of chromium, chromium-browser, google-chrome is on the PATH")
    opened = Page(executable(), tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = synthetic.config(methods=tuple(synthetic.TITLES))
    settings["methods"]["lora"]["grid"] = [{"lr": 0.001, "loss": 0.5}, {"lr": 0.002, "loss": 0.4}]
    folder = synthetic.tree(tmp_path_factory.mktemp("report"), settings)
    synthetic.fail(folder, settings, "full", "out of memory", "<script>alert(1)</script> & more")
    shutil.rmtree(folder / "runs/lomo")
    for stage in (listing, tables, figures, report):
        stage.write(collect.read(folder))
    return folder / "report.html"


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def opened(request: pytest.FixtureRequest, page: Page, file: Path) -> Page:
    page.open(file, request.param)
    return page


def test_it_opens_without_complaint_and_fits_the_window(opened: Page) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.evaluate("[...document.images].length") > 5
    assert opened.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert not opened.errors


def column(page: Page, key: str, heading: int) -> list[str]:
    return page.evaluate(
        f"[...document.querySelector('#table-{key} ~ .scroll table').tBodies[0].rows]"
        f".map(row => row.cells[{heading}].dataset.sort ?? row.cells[{heading}].textContent.trim())"
    )


def test_a_click_sorts_and_words_stay_last(opened: Page) -> None:
    button = "document.querySelectorAll('#table-memory ~ .scroll table thead button')[5]"  # peak
    for descending in (False, True):
        opened.evaluate(f"{button}.click()")
        cells = column(opened, "memory", 5)
        peaks = [float(cell) for cell in cells if re.fullmatch(r"[\d.]+", cell)]
        assert len(peaks) == 4 and peaks == sorted(peaks, reverse=descending)
        assert [cell[:3] for cell in sorted(cells[4:])] == ["not", "out"]
    assert opened.evaluate(f"{button}.parentElement.getAttribute('aria-sort')") == "descending"
    assert not opened.errors


def test_links_of_the_page_lead_to_what_is_there(opened: Page) -> None:
    links = opened.evaluate("[...document.links].map(link => link.getAttribute('href'))")
    assert len(links) > 50
    opened.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert opened.evaluate(
        "[...document.links].filter(l => l.hash).every(l => document.getElementById(l.hash.slice(1)))"
    )
    opened.evaluate("document.querySelector('nav a[href=\"#figures\"]').click()")
    assert opened.evaluate("location.hash") == "#figures"
    assert opened.evaluate("Math.abs(document.getElementById('figures').getBoundingClientRect().top) < 5")
    assert not opened.errors


def test_it_prints(opened: Page) -> None:
    printed = opened.pdf()
    assert printed.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 30
