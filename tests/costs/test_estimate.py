"""What is counted before a training against what the training then does; no times."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.paths import RECIPES
from support.recipes import run_recipe
from teminal_hf.commands.cli import main
from teminal_hf.costs import estimate as module
from teminal_hf.costs.bill import Constants, Counts
from teminal_hf.costs.counting import count, nothing_kept, plan_recipe
from teminal_hf.costs.estimate import constants_of, known
from teminal_hf.errors import ConfigError
from teminal_hf.storage.cache import entries

MACHINE = Constants(
    hardware="a machine, 2 cores", parameters=2_405_910, batch=8, start=5.0, clip=0.5, clip_bytes=100.0,
    recording=2.0, caption=0.25, heard=0.125, read=0.0625, step=1.0, memory=10**9,
)  # fmt: skip
SMALL = ["--n_groups", "18", "--num_train_epochs", "2", "--per_device_train_batch_size", "4", "--start_from", "base"]
SMALL += ["--gradient_accumulation_steps", "2", "--reference_size", "10", "--clips_per_class", "2"]
SMALL += ["--report_groups", "4", "--report_tasks", "1", "3O"]


def counted(*flags: str) -> Counts:
    with nothing_kept():
        planned = plan_recipe("stage_b", flags, RECIPES / "stage_b.yaml")
        return count(planned, MACHINE, 10**12, lambda n_bytes: (1.0, 1.0))


def test_a_training_does_what_was_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path / "cache"))
    flags = [*SMALL, "--eval_strategy", "epoch", "--eval_groups", "4", "--eval_tasks", "3O", "--save_strategy", "epoch"]
    flags += ["--save_total_limit", "1", "--train_folds", "1", "2", "--validation_folds", "3"]
    counts = counted(*flags)
    assert list(tmp_path.iterdir()) == []
    run_recipe("stage_b", *flags, "--output_dir", "run")
    [part] = counts.parts
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (part.cached, part.steps) == (record["cached_prefix"][""], record["steps"]) == (True, 6)
    evaluations = [row for row in json.loads((tmp_path / "run" / "log.json").read_text()) if "eval_loss" in row]
    assert part.evaluations == len(evaluations) == 2
    prefixes = list((tmp_path / "cache" / "prefix").glob("*/*.safetensors"))
    assert part.cache_bytes + counts.report_bytes == sum(_tensor_bytes(path) for path in prefixes)
    decoded = [entry for entry in entries() if entry.kind == "clips"]
    assert counts.clips == sum(int(entry.what.split()[0]) for entry in decoded)
    assert counts.model_bytes == _tensor_bytes(tmp_path / "run" / "model.safetensors")
    there = sum(path.stat().st_size for path in (tmp_path / "run").glob("checkpoint-*/*") if _is_state(path))
    assert part.checkpoint_bytes == pytest.approx(there, rel=0.02)  # their headers


def _tensor_bytes(path: Path) -> int:
    """Of a safetensors file, without its header."""
    with path.open("rb") as file:
        return path.stat().st_size - 8 - int.from_bytes(file.read(8), "little")


def _is_state(path: Path) -> bool:
    return path.name in ("model.safetensors", "optimizer.pt")


def test_phases_share_what_the_cache_keeps(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("phases:\n  one: {plain_share: 1.0}\n  two: {num_train_epochs: 3}\n")
    alone = counted(*SMALL)
    both = counted(str(path), *SMALL[:2], *SMALL[4:], "--views", "forward", "reversed", "overlay", "single")
    assert [part.name for part in both.parts] == ["one", "two"]
    assert [part.steps for part in both.parts] == [9, 9]  # three epochs are the default
    assert both.parts[1].recordings == 0
    assert alone.parts[0].recordings > 0


@pytest.mark.parametrize(("epochs", "cached"), [("1", False), ("2", True)])
def test_the_estimate_decides_as_the_run_does(epochs: str, cached: bool) -> None:
    counts = counted(*SMALL, "--num_train_epochs", epochs)
    assert [part.cached for part in counts.parts] == [cached]
    assert counted(*SMALL, "--num_train_epochs", epochs, "--cache_prefix", "true").parts[0].cached


def test_the_command_prints_a_column_for_each_size_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path / "cache"))
    main(["estimate", "stage_b", *SMALL, "--groups", "8", "16"])
    said = capsys.readouterr().out
    assert said.startswith("| time | 8 groups | 16 groups |\n| --- | ---: | ---: |\n| start |")
    assert "- 16 groups: frozen layers cached: 1 pass(es) of the frozen layers instead of 2" in said
    assert "**memory, at the peak**" in said and "an empty cache" in said
    assert list(tmp_path.iterdir()) == []


def test_a_machine_or_model_that_was_not_measured_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "known", lambda: [MACHINE, replace(MACHINE, parameters=150_000_000)])
    with nothing_kept() as folder:
        planned = plan_recipe("stage_b", SMALL, RECIPES / "stage_b.yaml")
        assert constants_of(planned, "a machine", folder) == MACHINE
        with pytest.raises(ConfigError, match=r"no machine 'H100' has been measured; there are: a machine, 2 cores\. "):
            constants_of(planned, "H100", folder)
        monkeypatch.setattr(module, "known", lambda: [replace(MACHINE, parameters=150_000_000)])
        with pytest.raises(ConfigError, match=r"models of 150\.0 M parameters were measured, and this one has 2\.4 M"):
            constants_of(planned, "a machine", folder)


def test_what_the_package_knows_of_machines_is_whole() -> None:
    rows: list[Any] = known()
    assert len({(row.hardware, row.parameters) for row in rows}) == len(rows)
    assert all(min(row.recording, row.caption, row.step, row.start, row.memory) > 0 for row in rows)
