"""A seed fixes the weights, whatever else the process has done, and whatever a run was interrupted by."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from support.tiny import assert_equal, groups, staged_reference, tiny_encoder, trainer, weights
from teminal_hf.errors import ConfigError
from teminal_hf.models.encoder import identity
from teminal_hf.training.trainer import TeminalTrainer

DROPOUT: dict[str, Any] = {"dropout": 0.1, "max_steps": 6, "logging_strategy": "no"}


def trained(folder: Path, resume: int = 0, n_groups: int = 12, **options: Any) -> TeminalTrainer:
    """Three steps an epoch."""
    t = trainer(folder, n_groups, **(DROPOUT | options))
    t.train(resume_from_checkpoint=str(folder / f"checkpoint-{resume}") if resume else None)
    return t


@pytest.mark.parametrize("options", [{}, {"average": 0.9}], ids=["plain", "averaged"])
@pytest.mark.parametrize("max_steps", [5, 6])
def test_no_step_is_taken_beyond_the_last(tmp_path: Path, max_steps: int, options: dict[str, Any]) -> None:
    """Resumed from the checkpoint of the last step, in the middle of an epoch and at its end."""
    options = {
        "max_steps": max_steps,
        "lr_scheduler_type": "constant",
        "save_strategy": "steps",
        "save_steps": 1,
    } | options
    whole = trained(tmp_path, **options)
    again = trained(tmp_path, max_steps, **options)
    assert again.state.global_step == whole.state.global_step == max_steps
    assert_equal(weights(again.model), weights(whole.model))


def test_dropout_does_not_depend_on_evaluations(tmp_path: Path) -> None:
    alone = trained(tmp_path / "alone")
    held_out = groups(4, alone.args.views)
    for strategy in ("steps", "epoch"):
        beside = trained(tmp_path / strategy, eval_strategy=strategy, eval_steps=2, eval_dataset=held_out)
        assert_equal(weights(beside.model), weights(alone.model))
    options: dict[str, Any] = {
        "eval_strategy": "epoch",
        "eval_dataset": held_out,
        "save_strategy": "steps",
        "save_steps": 3,
    }
    trained(tmp_path / "saved", **options)
    assert_equal(weights(trained(tmp_path / "saved", 3, **options).model), weights(alone.model))


def test_trainers_of_one_process_have_each_their_own_seed(tmp_path: Path) -> None:
    alone = trained(tmp_path / "alone", seed=1)
    first, _ = trainer(tmp_path / "a", 12, seed=1, **DROPOUT), trainer(tmp_path / "b", 12, seed=2, **DROPOUT)
    first.train()
    assert_equal(weights(first.model), weights(alone.model))


def test_a_model_without_its_optimizer_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 3, "save_only_model": True}
    trained(tmp_path, **options)
    assert load_file(tmp_path / "checkpoint-3" / "model.safetensors")
    with pytest.raises(
        ConfigError, match=r"checkpoint-3 holds a model alone \(save_only_model\), and no state of the opt"
    ):
        trained(tmp_path, 3, **options)


def test_any_number_of_processes_asks_about_the_same() -> None:
    reference = staged_reference()
    one = reference.draw(5)
    for processes in (2, 3, 5, 8):
        drawn = [reference.draw(5, rank, processes) for rank in range(processes)]
        together = torch.stack([each.recordings for each in drawn], dim=1).flatten()
        assert torch.equal(together, one.recordings[: len(together)]) and len(together) > 64 - processes
        assert {each.sentence for each in drawn} == {one.sentence}


def test_the_reference_is_of_full_precision_whatever_is_trained_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = []
    for half in (True, False):
        monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path / str(half)))
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found.append(staged_reference())
    assert torch.equal(found[0].audio_embeds, found[1].audio_embeds)
    assert torch.equal(found[0].text_embeds, found[1].text_embeds)


def test_a_model_that_hears_otherwise_is_another() -> None:
    encoder, other = tiny_encoder(), tiny_encoder()
    assert identity(encoder) == identity(other)
    other.model.config.name_or_path = "elsewhere"
    assert identity(encoder) == identity(other)
    other.processor.feature_extractor.frequency_max = 3_000
    assert identity(encoder) != identity(other)
