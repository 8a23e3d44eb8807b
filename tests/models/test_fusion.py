"""Fused checkpoints: opened as unfused ones to the last bit, trained, and saved with their fusion, for plain
transformers."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ClapConfig, ClapModel, ClapProcessor

from support.tiny import ALL_VIEWS, RATE, config, groups, tiny_clap, tiny_processor
from teminal_hf import load_encoder, rank
from teminal_hf.errors import CheckpointError
from teminal_hf.models.checkpoint import load_clap, save_checkpoint
from teminal_hf.models.embed import embed_audio
from teminal_hf.models.fusion import without_fusion
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.tools.doctor import diagnose
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.trainer import TeminalTrainer

N_FUSION = 30


@pytest.fixture(params=["aff_2d", None])
def fused(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A fused checkpoint as transformers writes it, its processor with it; laion/clap-htsat-fused names no type."""
    processor = tiny_processor()
    processor.feature_extractor.truncation = "fusion"
    model = tiny_clap(fused=True)
    model.config.audio_config.fusion_type = request.param
    model.save_pretrained(tmp_path / "fused")
    processor.save_pretrained(tmp_path / "fused")
    return tmp_path / "fused"


def features(folder: Path, *seconds: float) -> torch.Tensor:
    """By plain transformers (n, 4, frames, mels)."""
    rng = np.random.default_rng(0)
    sounds = [0.1 * rng.standard_normal(round(s * RATE)) for s in seconds]
    extractor = ClapProcessor.from_pretrained(folder).feature_extractor
    return extractor(sounds, sampling_rate=RATE, padding="pad", return_tensors="pt")["input_features"].float()


@torch.no_grad()
def embeds(model: ClapModel, inputs: torch.Tensor, is_longer: bool) -> torch.Tensor:
    longer = torch.full((len(inputs), 1), is_longer)
    return model.get_audio_features(input_features=inputs, is_longer=longer).pooler_output


def test_unfused_it_gives_the_same_to_the_last_bit(fused: Path) -> None:
    inputs = features(fused, 1.0, 0.6)
    truth = embeds(ClapModel.from_pretrained(fused), inputs, is_longer=False)
    model, processor = load_clap(str(fused))
    assert not model.config.audio_config.enable_fusion and processor.feature_extractor.truncation == "fusion"
    assert torch.equal(embeds(model, inputs[:, :1], is_longer=False), truth)
    config = ClapConfig.from_pretrained(fused)
    config.audio_config.enable_fusion = False  # transformers' own way, which drops the same tensors
    opened: Any = ClapModel.from_pretrained(fused, config=config, output_loading_info=True)
    assert len(opened[1]["unexpected_keys"]) == N_FUSION and set(opened[0].state_dict()) == set(model.state_dict())
    assert torch.equal(embeds(opened[0], inputs[:, :1], is_longer=False), truth)
    rng = np.random.default_rng(0)
    sounds = [(0.1 * rng.standard_normal(round(s * RATE))).astype(np.float32) for s in (1.0, 0.6)]
    torch.testing.assert_close(embed_audio(model, processor, sounds), truth, atol=2e-4, rtol=0)


def test_saved_it_is_a_fused_checkpoint_again(fused: Path, tmp_path: Path) -> None:
    """Whatever was changed in the layers that are left; long recordings go through its fusion as before."""
    model, processor = load_clap(str(fused))
    with torch.no_grad():
        model.audio_projection.linear2.weight.mul_(-1)
    save_checkpoint(copy.deepcopy(model), processor, tmp_path / "saved")
    loaded: Any = ClapModel.from_pretrained(tmp_path / "saved", output_loading_info=True)
    saved, loading = loaded
    assert not loading["missing_keys"] and not loading["unexpected_keys"] and saved.config.audio_config.enable_fusion
    before = ClapModel.from_pretrained(fused).state_dict()
    assert set(saved.state_dict()) == set(before)
    assert sum(not torch.equal(before[name], tensor) for name, tensor in saved.state_dict().items()) == 1
    # The extractor makes such crops for 64 mel bands alone.
    inputs = -40 + 10 * torch.randn(2, 4, 63, 16, generator=torch.Generator().manual_seed(0))
    long = embeds(saved, inputs, is_longer=True)
    assert long.isfinite().all() and (long - embeds(saved, inputs, is_longer=False)).abs().max() > 1e-3
    again, _ = load_clap(str(tmp_path / "saved"))
    torch.testing.assert_close(embeds(again, inputs[:, :1], False), embeds(model, inputs[:, :1], False), atol=0, rtol=0)
    assert not model.config.audio_config.enable_fusion  # what was saved goes on as it was


def train(model: Any, folder: Path, checkpoint: Path | None = None) -> None:
    """Two steps, saved after each."""
    args = config(folder, views=ALL_VIEWS, max_steps=2, save_strategy="steps", save_steps=1)
    rows, collator = groups(8, ALL_VIEWS), GroupCollator(tiny_processor(), ALL_VIEWS)
    trainer = TeminalTrainer(model, args, data_collator=collator, train_dataset=rows)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 under transformers 5.23
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_it_is_trained_saved_and_goes_on(fused: Path, tmp_path: Path, tuning: Any) -> None:
    model, processor = load_clap(str(fused))
    tuned, _ = apply_stage(model, StagePolicy(tuning=tuning, lora_rank=2))
    train(tuned, tmp_path / "run")
    resumed, _ = apply_stage(load_clap(str(fused))[0], StagePolicy(tuning=tuning, lora_rank=2))
    train(resumed, tmp_path / "again", tmp_path / "run" / "checkpoint-1")
    for name, tensor in resumed.state_dict().items():
        assert torch.equal(tensor, tuned.state_dict()[name]), name
    if tuning == "full":  # adapters are saved alone on the way
        whole = ClapModel.from_pretrained(tmp_path / "run" / "checkpoint-1")
        assert whole.config.audio_config.enable_fusion
    save_checkpoint(tuned, processor, tmp_path / "saved")
    after, start = (ClapModel.from_pretrained(folder).state_dict() for folder in (tmp_path / "saved", fused))
    assert set(after) == set(start)
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, start[name])}
    assert moved and not any("fusion_model" in name or "mel_conv2d" in name for name in moved)


def test_every_reader_of_checkpoints_takes_it(fused: Path) -> None:
    ranking = rank(load_encoder(str(fused)), (0.1 * np.ones(RATE)).astype(np.float32), ["dog", "rain"])
    assert len(ranking.captions) == 2


def test_a_fusion_that_every_recording_passes_through_is_refused() -> None:
    model = tiny_clap(fused=True)
    model.config.audio_config.fusion_type = "channel_map"
    with pytest.raises(CheckpointError, match="mine is fused by 'channel_map', where every recording passes through"):
        without_fusion(model, "mine")


def test_an_extractor_of_the_other_kind_is_refused(fused: Path) -> None:
    tiny_processor().save_pretrained(fused)
    with pytest.raises(
        CheckpointError, match=r"truncation='rand_trunc', an unfused model's, and .* enable_fusion=True"
    ):
        load_clap(str(fused))


def test_what_cannot_be_opened_is_a_finding_of_the_doctor(tmp_path: Path) -> None:
    processor = tiny_processor()
    processor.feature_extractor.truncation = "fusion"
    processor.save_pretrained(tmp_path)
    config = tiny_clap(fused=True).config
    config.audio_config.fusion_type = "channel_map"
    ClapModel(config).save_pretrained(tmp_path)
    found = [finding for finding in diagnose(str(tmp_path)) if finding.level == "problem"]
    assert ["is fused by 'channel_map', where every recording passes" in finding.what for finding in found] == [True]
