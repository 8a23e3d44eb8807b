"""Folders of finished runs as far as comparisons read them, with answers that are made up."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teminal_hf.evaluation.zste import wilson_interval

CHANCE = {"1": 0.1, "3O": 0.5, "8": 0.5}


def answers(rng: np.random.Generator, n: int = 200, **skill: float) -> dict[str, NDArray[np.float64]]:
    """By task whether each of n items is right, with the probability that `skill` gives (of `t3O` for task 3O)."""
    return {task: (rng.random(n) < skill.get(f"t{task}", chance)).astype(float) for task, chance in CHANCE.items()}


def report(right: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """As `to_json` writes it: item i is about clip i."""
    results = {
        task: {
            "accuracy": float(values.mean()),
            "chance": CHANCE[task],
            "n": len(values),
            "ci95": list(wilson_interval(values.sum(), len(values))),
        }
        for task, values in right.items()
    }
    items = {
        task: {"clips": [f"clip{i}" for i in range(len(values))], "right": values.tolist()}
        for task, values in right.items()
    }
    return {"results": results, "wording": {}, "items": items}


def write_finished(
    folder: Path,
    before: Mapping[str, NDArray[np.float64]],
    after: Mapping[str, NDArray[np.float64]],
    *,
    seed: int = 1,
    settings: Mapping[str, Any] | None = None,
    **record: Any,
) -> Path:
    """`record` replaces what run.json holds by default."""
    folder.mkdir(parents=True)
    facts = {"stage": "stage_b", "source_name": "ESC-50", "pairs_name": "", "folds": {"train": [1], "test": [2]}}
    facts |= {"base_name": "clap-mini", "history": [], "seed": seed, "processes": 1, "complete": True}
    given = {"seed": seed, "learning_rate": 0.001} | dict(settings or {})
    (folder / "run.json").write_text(json.dumps(facts | {"settings": given} | record))
    (folder / "zste.json").write_text(json.dumps({"before": report(before), "after": report(after)}))
    return folder
