"""Options and fixtures of the whole test suite."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers side by side: more threads than cores crawl
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # the same bits from the same matrix product

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chunkft")
    what = "run only the conformance test, for baselines/NAME.py, or for all methods"
    group.addoption("--method", metavar="NAME|all", help=what)
    group.addoption(
        "--data-root",
        type=Path,
        default=ROOT.parent / "shared",
        help="folder with real data and models for the tests (default: `shared` beside the checkout)",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --method, no other test file is even imported."""
    other = collection_path.suffix == ".py" and collection_path.name != "test_conformance.py"
    return True if config.getoption("--method") and other else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    name = config.getoption("--method")
    if name in (None, "all"):
        return
    wanted = [item for item in items if item.callspec.params["case"].method == name]
    if not wanted:
        raise pytest.UsageError(f"--method {name}: nothing to test; is there a baselines/{name}.py?")
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted


@pytest.fixture
def data_root(request: pytest.FixtureRequest) -> Path:
    """The folder of real data; skips the test where it is absent."""
    root = request.config.getoption("--data-root")
    if not root.is_dir():
        pytest.skip(f"needs real data, and {root} is not a folder; give its place with --data-root")
    return root
