"""One set of versions, whichever way the environment is made; a wheel of the library alone."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str]) -> dict[str, str]:
    pairs = (line.split("==") for line in lines if line.strip() and not line.startswith("#"))
    return {normal(name): version.strip() for name, version in pairs}


def test_the_pinned_file_holds_what_pyproject_asks_for() -> None:
    locked = pins((ROOT / "requirements.txt").read_text().splitlines())
    extras = PROJECT["optional-dependencies"]
    for name, version in pins([*extras["suite"], *extras["dev"]]).items():
        assert locked.get(name) == version, name


def test_every_import_of_the_suite_is_a_declared_dependency() -> None:
    declared = {normal(name) for name in pins(PROJECT["optional-dependencies"]["suite"])}
    packages = {
        "yaml": "pyyaml",
        "fastchat": "fschat",
        "galore_torch": "galore-torch",
        "lomo_optim": "lomo-optim",
        "apollo_torch": "apollo-torch",
    }
    ours = {"chunkft", "baselines", "workflow", "analysis"}
    for folder in ("baselines", "workflow", "analysis"):
        for path in (ROOT / folder).rglob("*.py"):
            for name in re.findall(r"^\s*(?:from|import) ([A-Za-z_]\w*)", path.read_text(), re.M):
                if name not in ours and name not in sys.stdlib_module_names:
                    assert normal(packages.get(name, name)) in declared, f"{path.name} imports {name}"


def test_conda_installs_the_same_file() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert f"python {PROJECT['requires-python']}" in environment["dependencies"]
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert "-r requirements.txt" in pip


def test_the_library_needs_torch_only() -> None:
    assert [re.split(r"\W", need)[0] for need in PROJECT["dependencies"]] == ["torch"]
    code = "import sys, chunkft; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not {"transformers", "baselines", "workflow", "peft", "datasets"} & set(loaded.stdout.split())


def test_the_wheel_holds_the_library_alone(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    built = subprocess.run(build, capture_output=True, text=True)
    if "setuptools" in built.stderr and built.returncode:
        pytest.fail(built.stderr)
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"chunkft", f"chunkft-{PROJECT['version']}.dist-info"}


def test_the_snakefile_is_short() -> None:
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 60
