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
from support.documents import PAGES, blocks
from support.hub_server import HubServer
from support.paths import ROOT


def test_public_names_are_sorted_and_there() -> None:
    assert teminal_hf.__all__ == sorted(teminal_hf.__all__)
    assert all(hasattr(teminal_hf, name) for name in teminal_hf.__all__)


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == teminal_hf.__version__
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1] == project["version"]


def test_importing_pulls_no_optional_dependency() -> None:
    optional = ("torchaudio", "torchcodec", "matplotlib", "gradio", "mteb", "onnx", "onnxruntime", "onnxscript", "ray")
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
def folder(tmp_path_factory: pytest.TempPathFactory, hub: HubServer) -> Path:
    """A checkout's recipes, a sound, and the documents' shell commands run in their order (on less data)."""
    folder = tmp_path_factory.mktemp("documents")
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
    for page in PAGES:
        for line in "".join(blocks(page, "bash")).splitlines():
            if line.startswith("make"):
                continue  # installs
            small = f"{line} {SMALL}" if "recipes/" in line or "teminal train" in line else line
            done = subprocess.run(
                _filled_in(small), shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, f"{page}: {line}\n{done.stdout}{done.stderr}"
    return folder


def test_commands_of_the_documents_run(folder: Path, hub: HubServer) -> None:
    assert {kind for kind, _ in hub.repos} == {"model", "dataset", "space"}
    runs = ("stage_b-001", "mine/stage_a", "mine/stage_b", "mine/lora", "esc50/stage_b", "plain_pairs-001")
    for run in runs:
        assert (folder / "runs" / run / "model.safetensors").is_file()
    assert (folder / "runs" / "compared.json").is_file()


SNIPPETS = [(page, number) for page in PAGES for number in range(len(blocks(page, "python")))]


@pytest.mark.parametrize(("page", "number"), SNIPPETS)
def test_python_of_the_documents_runs(folder: Path, hub: HubServer, page: str, number: int) -> None:
    code, env = _filled_in(blocks(page, "python")[number]), {**os.environ, **hub.env(folder / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
