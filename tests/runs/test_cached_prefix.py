"""Cache or recompute: what is counted decides, speeds only beyond the memory, and a run keeps to what it decided."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from support.recipes import run_recipe
from teminal_hf.runs import cached_prefix
from teminal_hf.runs.cached_prefix import Speeds, decide, disk_seconds, epochs_of
from teminal_hf.storage.cache import cache_root
from teminal_hf.training.config import TeminalConfig

GIB = 2**30
ONE_EPOCH = ["--n_groups", "16", "--num_train_epochs", "1", "--per_device_train_batch_size", "8", "--start_from"]
ONE_EPOCH += ["base", "--report_groups", "4", "--clips_per_class", "2", "--report_tasks", "3O", "--retention", "0"]
ONE_EPOCH += ["--mixture", "0"]


def not_asked() -> Speeds:
    raise AssertionError("speeds were measured, and counts decide")


@pytest.mark.parametrize(
    ("counts", "cached", "why"),
    [
        ({"missing": 0, "epochs": 0.1, "free": 0}, True, "in the cache already"),
        ({"epochs": 1}, False, "1 epoch"),
        ({"epochs": 1.01}, True, "instead of 1.01, 4.0 GiB on disk"),
        ({"epochs": 0.6, "missing": 2 * GIB}, True, "0.5 pass"),
        ({"epochs": 0.4, "missing": 2 * GIB}, False, "0.4 epoch"),
        ({"free": 4 * GIB}, False, "would take 4.0 GiB, and 4.0 GiB are free"),
        ({"free": 5 * GIB}, True, "10"),
    ],
)
def test_counts_decide_where_the_cache_fits_into_memory(counts: dict[str, Any], cached: bool, why: str) -> None:
    given = {"epochs": 10, "n_bytes": 4 * GIB, "missing": 4 * GIB, "free": 100 * GIB, "memory": 8 * GIB}
    decision = decide(**(given | counts), speeds=not_asked)
    assert decision.cached == cached and why in decision.why


@pytest.mark.parametrize(
    ("speeds", "epochs", "cached"),
    [
        (Speeds(100, 20, 30), 2, True),  # 100 + 20 + 2 x 30 = 180, against 200
        (Speeds(100, 50, 30), 2, False),  # 210
        (Speeds(100, 0, 100), 1000, False),  # a disk as slow as the layers never pays
        (Speeds(100, 1000, 99), 1200, True),  # 100 + 1000 + 118 800 against 120 000
    ],
)
def test_speeds_decide_beyond_it(speeds: Speeds, epochs: int, cached: bool) -> None:
    counts = {"n_bytes": 5 * GIB, "missing": 5 * GIB, "free": 100 * GIB, "memory": 8 * GIB}
    assert decide(epochs=epochs, **counts, speeds=lambda: speeds).cached == cached


def test_epochs_are_counted_by_steps_where_these_are_given(tmp_path: Path) -> None:
    def config(**given: Any) -> TeminalConfig:
        return TeminalConfig(str(tmp_path), use_cpu=True, report_to="none", **given)

    assert epochs_of(config(num_train_epochs=3), 100) == 3
    steps = config(max_steps=30, num_train_epochs=3, per_device_train_batch_size=5, gradient_accumulation_steps=2)
    assert epochs_of(steps, 100) == 3
    assert epochs_of(steps, 600) == 0.5


def test_the_disk_is_asked_without_a_trace() -> None:
    cache_root().mkdir(parents=True, exist_ok=True)
    before = sorted(cache_root().iterdir())
    assert all(seconds > 0 for seconds in disk_seconds(2**16))
    assert sorted(cache_root().iterdir()) == before


def test_a_run_says_what_it_decided_and_keeps_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path / "cache"))

    def cut(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainerCallback, "on_step_begin", cut)
        with pytest.raises(SystemExit, match="130"):
            run_recipe("stage_b", *ONE_EPOCH, "--save_strategy", "steps", "--save_steps", "1", "--output_dir", "cut")
    assert "recomputing the frozen layers: 1 epoch(s) hear no more than the first pass would compute" in caplog.text
    assert json.loads(Path("cut/run.json").read_text())["cached_prefix"] == {"": False}

    def other(**counts: Any) -> None:
        raise AssertionError("a run that is resumed decides nothing anew")

    monkeypatch.setattr(cached_prefix, "decide", other)
    run_recipe("stage_b", "--resume", "--output_dir", "cut")
    record = json.loads(Path("cut/run.json").read_text())
    assert record["complete"] and record["cached_prefix"] == {"": False}
    run_recipe("stage_b", *ONE_EPOCH, "--cache_prefix", "--output_dir", "told")
    assert "cached_prefix" not in json.loads(Path("told/run.json").read_text())
