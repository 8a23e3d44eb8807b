"""The public surface, the documents, and what importing costs."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile

import teminal_hf
from support.clips import write_esc50
from support.hub_server import HubServer
from support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_public_names_are_sorted_and_there() -> None:
    assert teminal_hf.__all__ == sorted(teminal_hf.__all__)
    assert all(hasattr(teminal_hf, name) for name in teminal_hf.__all__)


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == teminal_hf.__version__
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1] == project["version"]


def test_importing_pulls_no_optional_dependency() -> None:
    optional = ("torchaudio", "torchcodec", "matplotlib", "gradio", "mteb")
    code = "import sys, teminal_hf\nfor name in teminal_hf.__all__: getattr(teminal_hf, name)\n"
    code += f"print([m for m in {optional} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_file_grows_too_long() -> None:
    for path in [*ROOT.glob("teminal_hf/**/*.py"), *ROOT.glob("recipes/*.py"), *ROOT.glob("tests/**/*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 360, path


def test_no_placeholder_is_left() -> None:
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("*/*/*.md")]:
        assert "@@" not in path.read_text(encoding="utf-8"), path


def test_recipes_and_cards_are_in_the_wheel() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert wheel["wheel"]["force-include"] == {"hub_cards": "teminal_hf/hub_cards", "recipes": "teminal_hf/recipes"}


SMALL = "--n_groups 16 --num_train_epochs 1 --per_device_train_batch_size 8 --report_groups 4 --clips_per_class 2"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def _filled_in(text: str) -> str:
    """A command or snippet with what the reader is to put in."""
    for name, value in (("MODEL", "clap-mini"), ("ESC50", "ESC-50"), ("my_org/my_captions", "own"), ("YOU", "tester")):
        text = text.replace(name, value)
    return text


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def readme_folder(tmp_path_factory: pytest.TempPathFactory, hub: HubServer) -> Path:
    """A checkout's recipes, a sound, and the README's shell commands run in their order (on less data)."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    write_esc50(folder)
    rows = {"audio": [{"array": np.sin(np.arange(8_000) / k), "sampling_rate": 16_000} for k in range(2, 10)]}
    datasets.Dataset.from_dict(rows | {"text": [f"tone {k}" for k in range(8)]}).to_parquet(
        folder / "own" / "a.parquet"
    )
    noise = np.random.default_rng(0).standard_normal(12 * 44_100)
    soundfile.write(folder / "sound.wav", 0.1 * noise, 44_100)
    bin_folder = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    env |= hub.env(folder / "home")
    ran = []
    for line in "".join(_blocks("bash")).splitlines():
        if line.startswith(("make", "pip", "python3 -m venv")):
            continue  # installation
        small = f"{line} {SMALL}" if "recipes/" in line or "teminal train" in line else line
        small = _filled_in(small)
        done = subprocess.run(small, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        ran.append(line)
    assert len(ran) >= 9
    return folder


def test_commands_of_the_readme_run(readme_folder: Path, hub: HubServer) -> None:
    assert {kind for kind, _ in hub.repos} == {"model", "dataset", "space"}
    runs = ("stage_a-001", "stage_b-001", "mine/stage_a", "mine/stage_b", "esc50/stage_b", "plain_pairs-001")
    for run in runs:
        assert (readme_folder / "runs" / run / "model.safetensors").is_file()


@pytest.mark.parametrize("number", range(len(_blocks("python"))))
def test_python_of_the_readme_runs(readme_folder: Path, hub: HubServer, number: int) -> None:
    code, env = _filled_in(_blocks("python")[number]), {**os.environ, **hub.env(readme_folder / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=readme_folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
