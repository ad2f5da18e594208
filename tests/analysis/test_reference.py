"""The tables and figures kept under `results/reference/` are those of the result files beside them."""

import json
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.testing.compare import compare_images

from analysis import collect, figures, listing, tables
from analysis.files import ROOT
from analysis.table import to_csv, to_latex, to_markdown

KEPT = sorted(path.parent for path in (ROOT / "results/reference").glob("*/config.json"))
TOLERANCE = 2  # root mean square of 255 levels: other machines round the edges of letters otherwise


@pytest.fixture(scope="module", params=KEPT, ids=lambda folder: folder.name)
def kept(request: pytest.FixtureRequest) -> collect.Results:
    return collect.read(request.param)


def stale(kept: collect.Results) -> str:
    return f"stale; run: python -m analysis {kept.folder.relative_to(ROOT)}"


def test_no_kept_result_is_left_out(kept: collect.Results) -> None:
    assert kept.files and not kept.left_out


def test_tables(kept: collect.Results) -> None:
    made = {
        f"{table.name}.{suffix}": form(table)
        for table in tables.tables(kept)
        for suffix, form in (("csv", to_csv), ("md", to_markdown), ("tex", to_latex))
    }
    assert {path.name: path.read_text() for path in (kept.folder / "tables").iterdir()} == made, stale(kept)


def test_the_list_of_results(kept: collect.Results, tmp_path: Path) -> None:
    made = collect.Results(tmp_path, kept.config, kept.files, kept.left_out)
    listing.write(made)
    old, new = (pd.read_csv(folder / "results.csv", dtype=str) for folder in (kept.folder, tmp_path))
    assert set(old) <= set(new), stale(kept)
    pd.testing.assert_frame_equal(old, new[list(old)], obj=stale(kept))


def test_figures(kept: collect.Results, tmp_path: Path) -> None:
    made = collect.Results(tmp_path, kept.config, kept.files, kept.left_out)
    figures.write(made)
    captions = [
        json.loads((folder / "figures/captions.json").read_text()) for folder in (kept.folder, tmp_path)
    ]
    assert captions[0] == captions[1], stale(kept)
    for path in (tmp_path / "figures").glob("*.png"):
        difference = compare_images(kept.folder / "figures" / path.name, path, TOLERANCE)
        assert difference is None, f"{stale(kept)}\n{difference}"
