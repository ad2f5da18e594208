"""The report: one HTML file that needs nothing but itself, and whose links lead somewhere."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import synthetic

from analysis import collect, report
from analysis.files import ROOT, InputError

VOID = {"meta", "link", "img", "br", "input", "hr"}
LOADING = {"src", "srcset", "poster", "action", "data", "background"}


class Page(HTMLParser):
    """Links, loads, ids and headings of a page; fails at a tag that is not closed in its place."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name in LOADING or (tag == "link" and name == "href"):
                self.loads.append(value)
            elif name == "href":
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> on line {self.getpos()[0]}"

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def made(folder: Path) -> Page:
    subprocess.run([sys.executable, "-m", "analysis", folder], cwd=ROOT, check=True)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = synthetic.config(methods=tuple(synthetic.TITLES))
    folder = synthetic.tree(tmp_path_factory.mktemp("failing"), settings)
    synthetic.fail(folder, settings, "full", "out of memory", "<script>alert(1)</script> & more")
    shutil.rmtree(folder / "runs/lomo")
    (folder / "runs/chunkft/seed-1/eval/mmlu.json").write_text("{")
    synthetic.fail(folder, settings, "badam", "crashed", "KeyError: 'x'", seeds=[1])
    (folder / "runs/badam/seed-1/train.json").rename(folder / "runs/badam/seed-1/train.crashed")
    return folder


@pytest.fixture(scope="module")
def page(failing: Path) -> Page:
    return made(failing)


def test_it_parses_and_loads_nothing_from_outside(failing: Path, page: Page) -> None:
    assert page.loads and all(load.startswith("data:") for load in page.loads)
    text = (failing / "report.html").read_text()
    assert not re.search(r"@import|url\(|<script[^>]+src|fetch\(|XMLHttpRequest", text)
    assert len(page.ids) == len(set(page.ids))


def test_every_link_leads_to_a_file_or_a_place_on_the_page(failing: Path, page: Page) -> None:
    assert len(page.links) > 50
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids, link
        else:
            assert "://" not in link and (failing / unquote(link)).is_file(), link


def test_it_says_what_ran_what_did_not_and_what_was_left_out(page: Page) -> None:
    assert "Of 58 planned results: 35 ok, 9 not run, 9 out of memory, 4 crashed, 1 left out." in page.text
    assert "runs/chunkft/seed-1/eval/mmlu.json : it is truncated" in page.text
    assert "out of memory: <script>alert(1)</script> & more" in page.text  # as text, not as a tag


def test_it_holds_provenance_the_differences_and_how_to_cite(page: Page) -> None:
    assert "0123456789abcdef0123456789abcdef01234567" in page.text
    assert "2605.21177" in page.text
    assert "No published number is about it" in page.text
    assert "checked by a program" in page.text
    assert (
        "badam"
        not in page.text.partition("Provenance")[2]
        .partition("How to cite")[0]
        .partition("result files, each")[0]
    )


def test_every_table_can_be_sorted_by_number(failing: Path, page: Page) -> None:
    text = (failing / "report.html").read_text()
    assert text.count('class="sortable"') == len(list((failing / "tables").glob("*.csv")))
    assert {"table-accuracy", "table-memory", "table-time"} <= set(page.ids)
    stored = json.loads((failing / "runs/chunkft/measure.json").read_text())["memory"]["peak"]
    assert f'data-sort="{stored}"' in text


def test_every_table_and_figure_leads_to_the_files_it_was_made_from(failing: Path, page: Page) -> None:
    figures = json.loads((failing / "figures/captions.json").read_text())
    drawn = sum(figure["drawn"] for figure in figures)
    shown = len(list((failing / "tables").glob("*.csv")))
    assert page.text.count("result files, commit 0123456789ab") == drawn + shown
    memory = re.search(r'id="figure-memory".*?</figure>', (failing / "report.html").read_text(), re.DOTALL)[0]
    assert 'href="runs/chunkft/measure.json"' in memory and "train.json" not in memory


def test_of_many_methods_the_summary_lists_those_that_failed(tmp_path: Path) -> None:
    settings = synthetic.config(methods=("lora",), seeds=(0,))
    settings["methods"] |= {f"lora-{n}": {"method": "lora", "lr": 0.001 * n} for n in range(2, 25)}
    folder = synthetic.tree(tmp_path, settings)
    synthetic.fail(folder, settings, "lora-7", "diverged", "loss is inf at step 31")
    page = made(folder)
    assert "The other 23 of 24 settings: every result is ok." in page.text
    assert "1 method in 24 settings" in page.text and "LoRA (lr 0.007)" in page.text
    assert "diverged: loss is inf at step 31" in page.text


def test_an_experiment_of_which_nothing_ran_has_a_report(tmp_path: Path) -> None:
    folder = synthetic.tree(tmp_path, synthetic.config())
    shutil.rmtree(folder / "runs")
    page = made(folder)
    assert "Of 49 planned results: 49 not run." in page.text
    assert all(load == "data:," for load in page.loads)


def test_the_differences_follow_the_configuration(tmp_path: Path) -> None:
    config = synthetic.config(model="meta-llama/Llama-2-7b-hf") | {"device": "cuda"}
    config["data"]["sources"] = {"gsm8k": {"path": "openai/gsm8k"}}
    config["tasks"] = {"gsm8k": {"limit": 50}, "mt_bench": {"judge": None}}
    said = " ".join(report.differences(collect.Results(tmp_path, config, {}, {})))
    assert "only the first questions" in said.lower() and "gsm8k 50" in said
    assert "names no judge" in said
    assert "CPU" not in said and "generators" not in said and "No published number" not in said


def test_without_figures_it_says_what_to_run(tmp_path: Path) -> None:
    folder = synthetic.tree(tmp_path, synthetic.config(methods=("lora",)))
    with pytest.raises(InputError, match="python -m analysis.figures"):
        report.write(collect.read(folder))
    assert not (folder / "report.html").exists()
