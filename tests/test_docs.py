"""What the documentation says is there, is there."""

import re
import subprocess
from pathlib import Path

import pytest

from analysis.readme import BLOCK, filled

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_those_of_the_result_files(page: Path) -> None:
    text = page.read_text()
    assert filled(text) == text, f"stale; run: python -m analysis.readme {page.relative_to(ROOT)}"


def test_the_readme_shows_results() -> None:
    assert BLOCK.search((ROOT / "README.md").read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(
        r"`((?:workflow|analysis|chunkft|baselines|tests|docs|results/reference)/[\w./-]+\.\w+)`", text
    ):
        assert (ROOT / path).exists() or path.endswith("signsgd.py"), path


def test_make_targets_named_in_the_docs_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"^    make ([\w-]+)", page.read_text(), re.M)}
    assert named >= {"env", "results", "test"}
    known = subprocess.run(["make", "-C", str(ROOT), "-npq"], capture_output=True, text=True).stdout
    for name in named:
        assert re.search(rf"^{name}:", known, re.M), name
