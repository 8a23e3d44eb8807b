"""The package as it is installed: the wheel holds every room, and trains from an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.paths import ROOT

RECIPE = "train stage_b --n_groups 8 --max_steps 2 --per_device_train_batch_size 4 --clips_per_class 2"
RECIPE += " --report_groups 2"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the files in this checkout, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir"]
    done = subprocess.run(
        [sys.executable, *build, str(folder), str(ROOT)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_every_file_of_the_package_is_in_it(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "teminal_hf", "recipes", "hub_cards"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    present = [name for name in listed if (ROOT / name).is_file()]
    expected = {name if name.startswith("teminal_hf/") else f"teminal_hf/{name}" for name in present}
    assert len(expected) > 100
    assert expected <= set(zipfile.ZipFile(wheel).namelist())


def test_it_trains_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    installed, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    env = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    where = "import teminal_hf; print(teminal_hf.__file__)"
    found = subprocess.run([sys.executable, "-c", where], cwd=work, env=env, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(installed)
    done = subprocess.run(
        [sys.executable, "-m", "teminal_hf", *RECIPE.split()],
        cwd=work,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (work / "runs" / "stage_b-001" / "model.safetensors").is_file()
