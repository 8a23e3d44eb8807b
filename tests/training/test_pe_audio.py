"""PE-Audio through the trainer, the cache and the recipe."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PeAudioModel

from support.pe_audio import pe_audio, pe_processor
from support.recipes import run_recipe
from support.tiny import RATE, STAGE_B, TinyRows, assert_equal, config, groups, weights
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.runs.run_folder import read_record
from teminal_hf.training.cached_groups import CachedGroups, collate_cached
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.trainer import TeminalTrainer

POLICY = StagePolicy()


def trained(folder: Path, *, cached: bool = False, resume: str | None = None, **options: Any) -> TeminalTrainer:
    model = apply_stage(pe_audio(), POLICY)[0]
    collator = GroupCollator(pe_processor(RATE), list(STAGE_B))
    rows: Any = groups(8)
    if cached:
        rows = CachedGroups(model, POLICY.split_point, TinyRows(rows), collator, dtype="float32").fill()
    trainer = TeminalTrainer(
        model,
        config(folder, views=list(STAGE_B), per_device_train_batch_size=4, max_steps=6, **options),
        data_collator=collate_cached if cached else collator.__call__,
        train_dataset=rows,
        processing_class=pe_processor(RATE),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("cached", [False, True])
def test_training_moves_what_is_trained_and_the_loss_falls(tmp_path: Path, cached: bool) -> None:
    before = weights(pe_audio())
    trainer = trained(tmp_path, cached=cached, learning_rate=1e-2)
    after, names = weights(trainer.model), {n for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert "audio_encoder.layers.2.mlp.up_proj.weight" in names
    for name in before:
        assert torch.equal(before[name], after[name]) == (name not in names), name
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert losses[-1] < losses[0]


def test_cached_and_whole_end_in_the_same_weights(tmp_path: Path) -> None:
    whole, cached = (weights(trained(tmp_path / str(c), cached=c).model) for c in (False, True))
    for name, tensor in whole.items():
        torch.testing.assert_close(cached[name], tensor, atol=1e-4, rtol=1e-3, msg=name)


def test_resumed_it_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", save_strategy="steps", save_steps=3)
    resumed = trained(tmp_path / "again", resume=str(tmp_path / "whole" / "checkpoint-3"))
    assert_equal(weights(whole.model), weights(resumed.model))


def test_the_recipe_makes_a_plain_checkpoint_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, out = tmp_path / "base", tmp_path / "run"
    pe_audio().save_pretrained(base)
    pe_processor(RATE).save_pretrained(base)
    sizes = ["--n_groups", "4", "--max_steps", "2", "--clips_per_class", "10", "--report_groups", "4"]
    run_recipe("stage_b", "--model", str(base), "--output_dir", str(out), *sizes)
    assert "3O" in capsys.readouterr().out
    model = PeAudioModel.from_pretrained(out)
    before, after = weights(pe_audio()), weights(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == set(read_record(out)["trained_tensors"])
    card = (out / "README.md").read_text()
    assert "PeAudioModel.from_pretrained" in card and "ClapModel" not in card and "logit_scale_t" not in card
