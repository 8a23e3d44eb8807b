"""Retention, plain wording, and settings that are refused."""

import importlib.util
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.integrations import integration_utils

from support.tiny import (
    ALL_VIEWS,
    STAGE_B,
    config,
    groups,
    staged,
    tiny_clap,
    tiny_processor,
    tiny_reference,
    trainer,
    weights,
)
from teminal_hf.errors import ConfigError
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.trainer import TeminalTrainer


def test_retention_and_mixture_are_parts_of_the_loss_and_hold_the_model_back(tmp_path: Path) -> None:
    reference = tiny_reference(staged(), tiny_clap())
    drawn = [reference.draw(step) for step in range(20)]

    def departure(**weights: float) -> tuple[float, list[dict[str, float]]]:
        t = trainer(tmp_path, views=ALL_VIEWS, max_steps=6, reference=reference, **weights)
        t.train()
        t.model.eval()
        with torch.no_grad():
            outputs = [t.model(**d.inputs) for d in drawn]
        found = [
            reference.departure(o.audio_embeds, o.text_embeds, d).item() for o, d in zip(outputs, drawn, strict=True)
        ]
        return sum(found) / len(found), t.state.log_history

    free, _ = departure()
    kept, log = departure(retention=20.0, mixture=0.5)
    figures = [row["loss_retention"] for row in log if "loss" in row]
    assert figures[0] == pytest.approx(0, abs=1e-4)
    assert max(figures[1:]) > 1e-4
    assert kept < free / 2
    for row in (row for row in log if "loss" in row):
        temporal = sum(row[f"loss_{view}"] for view in STAGE_B) / 3
        others = row["loss_rehearsal"] + 20 * row["loss_retention"] + 0.5 * row["loss_mixture"]
        assert row["loss"] == pytest.approx(temporal + others, rel=1e-3)


def test_the_audio_tower_learns_at_its_own_rate(tmp_path: Path) -> None:
    moved = {}
    for rate in (1.0, 0.0):
        t = trainer(tmp_path, audio_rate=rate)
        before = weights(t.model)
        t.train()
        after = weights(t.model)
        moved[rate] = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved[0.0] == {name for name in moved[1.0] if not name.startswith("audio")}
    assert any(name.startswith("audio") for name in moved[1.0])


def test_plain_wording_lasts_for_its_share_of_the_steps(tmp_path: Path) -> None:
    t = trainer(tmp_path, max_steps=5, plain_share=0.5, views=ALL_VIEWS)
    given: list[Tensor] = []
    inner = t.model.forward

    def spy(**tensors: Tensor) -> Any:
        assert not any(name.startswith("plain_") for name in tensors)
        given.append(tensors["input_ids"])
        return inner(**tensors)

    t.model.forward = spy
    batches: list[dict[str, Tensor]] = []
    collate = t.data_collator

    def keep(rows: Any) -> dict[str, Tensor]:
        batches.append(collate(rows))
        return batches[-1]

    t.data_collator = keep
    t.train()
    by_ids = {batch[name].numpy().tobytes(): name for batch in batches for name in ("plain_input_ids", "input_ids")}
    said = [by_ids[ids.numpy().tobytes()] for ids in given]
    assert said == ["plain_input_ids"] * 3 + ["input_ids"] * 2  # steps 0, 1, 2 are below 0.5 * 5


def test_evaluation_uses_the_captions_as_drawn(tmp_path: Path) -> None:
    rows = groups(4, seed=5)
    plain = trainer(tmp_path, max_steps=1, plain_share=1.0, eval_dataset=rows, eval_strategy="steps", eval_steps=1)
    drawn = trainer(tmp_path, max_steps=1, eval_dataset=rows)
    plain.train()
    drawn.model.load_state_dict(plain.model.state_dict())
    figure = next(row["eval_loss"] for row in plain.state.log_history if "eval_loss" in row)
    assert drawn.evaluate()["eval_loss"] == pytest.approx(figure, rel=1e-6)


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG"])
def test_what_accelerate_was_launched_with_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(ConfigError, match=f"^{name.lower()} cannot be used here: .* start one process a GPU .* DDP"):
        config(tmp_path)
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "false")
    config(tmp_path)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"alpha_cross_time": -1.0}, "alpha_cross_time must not be negative, got -1.0; 0 leaves it out"),
        ({"beta": -0.1}, "beta must not be negative, got -0.1"),
        ({"rehearsal": -1.0}, "rehearsal must not be negative"),
        (
            {"views": ["forward", "backward"]},
            "unknown view(s) ['backward']; choose of forward, reversed, overlay, single",
        ),
        ({"views": []}, "views is empty; name at least one, such as forward"),
        ({"views": ["forward", "forward"]}, "views must differ, got ['forward', 'forward']"),
        ({"plain_share": 1.5}, "plain_share must be between 0 and 1, got 1.5"),
        ({"plain_share": math.nan}, "plain_share must be between 0 and 1, got nan"),
        ({"retention": math.nan, "views": ALL_VIEWS}, "retention must be a finite number, got nan; 0 leaves it out"),
        ({"alpha_same_overlap": math.inf}, "alpha_same_overlap must be a finite number, got inf"),
        ({"beta": -math.inf}, "beta must not be negative, got -inf"),
        ({"retention": 1.0, "reference": None}, "need what the starting checkpoint knows as reference="),
        ({"mixture": -1.0}, "mixture must not be negative, got -1.0; 0 leaves it out"),
        ({"audio_rate": math.inf}, "audio_rate must be a finite number, got inf"),
        ({"average": 1.0}, "average must be at least 0 and below 1, got 1.0"),
        ({"fsdp": "full_shard"}, "fsdp cannot be used here: a CLAP fits each device whole"),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, "deepspeed cannot be used here"),
        ({"per_device_train_batch_size": 1}, "a global batch of one group has no negatives from other groups"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        trainer(tmp_path, **options)


@pytest.mark.parametrize(
    ("tracker", "module", "package"),
    [
        ("tensorboard", ("tensorboard", "tensorboardX"), "tensorboard"),
        ("trackio", ("trackio",), "trackio"),
        ("wandb", ("wandb",), "wandb"),
        ("azure_ml", ("azureml",), "azureml-sdk"),
        ("flyte", ("flytekit",), "flytekit"),
    ],
)
def test_a_tracker_that_is_not_installed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str, module: tuple[str, ...], package: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in module else find(name, *a))
    message = f"report_to {tracker}: it is not installed, or not set up, here; pip install {package}, or set it to "
    for given in (tracker, [tracker]):
        with pytest.raises(ConfigError, match=re.escape(message)):
            config(tmp_path, report_to=given)


def test_trackers_by_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config(tmp_path, report_to="none").report_to == []
    monkeypatch.setattr(integration_utils, "is_trackio_available", lambda: True)
    assert config(tmp_path, report_to="trackio").report_to == ["trackio"]
    assert "trackio" in config(tmp_path, report_to="all").report_to
    with pytest.raises(ConfigError, match="report_to: paper is not supported, only azure_ml, comet_ml, "):
        config(tmp_path, report_to=["trackio", "paper"])


def test_a_collator_of_other_views_or_one_wording_is_refused(tmp_path: Path) -> None:
    model, _ = apply_stage(tiny_clap(), StagePolicy())
    collator = GroupCollator(tiny_processor(), ["overlay", "forward"])
    rows = groups(4)
    with pytest.raises(
        ValueError, match=re.escape("views ['overlay', 'forward'] are not the config's ['forward', 'ov")
    ):
        TeminalTrainer(
            model, config(tmp_path, views=["forward", "overlay"]), data_collator=collator, train_dataset=rows
        )
    args = config(tmp_path, views=["overlay", "forward"], plain_share=0.5)
    t = TeminalTrainer(model, args, data_collator=collator, train_dataset=rows)
    with pytest.raises(ValueError, match=re.escape("GroupCollator(..., plain_wording=True)")):
        t.train()


def test_no_training_data_is_transformers_own_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="requires a train_dataset"):
        trainer(tmp_path, train_dataset=None).train()


def test_processor_beside_a_checkpoint_truncates_nothing(tmp_path: Path) -> None:
    t = trainer(tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    assert isinstance(t.data_collator, GroupCollator)
    t.processing_class = t.data_collator.processor
    t.train()
    saved = json.loads((tmp_path / "checkpoint-1" / "tokenizer.json").read_text(encoding="utf-8"))
    assert saved["truncation"] is None and saved["padding"] is None  # ClapProcessor would crop audio by it
