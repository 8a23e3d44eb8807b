"""`recipes/ceiling.py`: a probe finds what is there, and nothing where nothing is."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from support.paths import RECIPES

PATH = RECIPES / "ceiling.py"
CLASSES, HALF = 6, 20


@pytest.fixture(scope="module")
def ceiling() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ceiling", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recordings(n: int, seed: int, noise: float = 1.0) -> tuple[Tensor, list[list[int]]]:
    """Two halves, each a fixed pattern of the class heard in it, and noise."""
    patterns = torch.randn(CLASSES, HALF, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(seed)
    heard = [rng.choice(CLASSES, 2, replace=False).tolist() for _ in range(n)]
    halves = patterns[torch.tensor(heard)]
    return halves + noise * torch.from_numpy(rng.standard_normal(halves.shape)).float(), heard


def test_halves_tell_the_order_and_their_mean_does_not(ceiling: ModuleType) -> None:
    parts = {
        name: recordings(n, seed) for seed, (name, n) in enumerate((("train", 300), ("validation", 80), ("test", 200)))
    }
    heard = {name: rows for name, (_, rows) in parts.items()}
    all_of_it = ceiling.probe({name: halves.flatten(1) for name, (halves, _) in parts.items()}, heard, CLASSES)
    mean = ceiling.probe({name: halves.mean(dim=1) for name, (halves, _) in parts.items()}, heard, CLASSES)
    assert np.mean(all_of_it["3O"]) > 0.95 and np.mean(all_of_it["5B"]) > 0.8
    assert abs(np.mean(mean["3O"]) - 0.5) < 0.15
    assert np.mean(mean["5B"]) > 0.35  # it hears both, and guesses which is which
    assert len(all_of_it["3O"]) == 200 and set(all_of_it["5B"]) <= {0.0, 0.5, 1.0}


def test_the_penalty_is_the_validation_folds_choice(ceiling: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {name: recordings(40, seed, noise=4.0) for seed, name in enumerate(("train", "validation", "test"))}
    features = {name: halves.flatten(1) for name, (halves, _) in parts.items()}
    heard = {name: rows for name, (_, rows) in parts.items()}
    chosen = ceiling.probe(features, heard, CLASSES)
    asked = {"train": "train", "validation": "validation", "test": "validation"}
    on_validation = {}
    for penalty in ceiling.PENALTIES:
        with monkeypatch.context() as patch:
            patch.setattr(ceiling, "PENALTIES", (penalty,))
            alone = {n: features[o] for n, o in asked.items()}, {n: heard[o] for n, o in asked.items()}
            on_validation[penalty] = np.mean(ceiling.probe(*alone, CLASSES)["3O"])
    assert chosen["penalty"] in on_validation and on_validation[chosen["penalty"]] == max(on_validation.values())


def test_on_the_sound_bank(tmp_path: Path) -> None:
    found = tmp_path / "ceiling.json"
    arguments = ["clap-mini", "--clips_per_class", "2", "--groups", "40", "--json", str(found)]
    done = subprocess.run([sys.executable, str(PATH), *arguments], capture_output=True, text=True, check=True)
    figures = json.loads(found.read_text())
    assert list(figures) == ["all tokens", "their mean"]
    assert all(len(answers[task]) == 48 for answers in figures.values() for task in ("3O", "5B"))
    assert f"| all tokens | {100 * np.mean(figures['all tokens']['3O']):.1f} [" in done.stdout
