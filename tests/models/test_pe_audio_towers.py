"""PE-Audio split in two is PE-Audio itself; a stage trains what it says; what is saved is a plain checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel, PeAudioModel

from support.pe_audio import pe_audio, pe_processor, save_audio_video
from support.tiny import RATE, groups, train_mode
from teminal_hf.audio.features import RawWaveform, features_of
from teminal_hf.errors import CheckpointError, ConfigError
from teminal_hf.models.checkpoint import load_checkpoint, save_checkpoint
from teminal_hf.models.embed import embed_audio, embed_text, encoder_of
from teminal_hf.models.split import attach_split_forward, towers_of
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.models.towers import SplitPoint
from teminal_hf.training.data_collator import GroupCollator

# peft 0.21 asks transformers 5.23 for a name it has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def batch_of(rows: int = 3) -> dict[str, Tensor]:
    return GroupCollator(pe_processor(RATE), ["forward", "single"])(groups(rows, ("forward", "single")))


def own_embeds(model: PeAudioModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """By the model's own forward, normalised."""
    with torch.no_grad():
        out = model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            input_values=batch["input_features"],
        )
    found = (torch.nn.functional.normalize(e, dim=-1) for e in (out.audio_embeds, out.text_audio_embeds))
    audio, text = found
    assert audio.std(dim=0).mean() > 1e-3 and text.std(dim=0).mean() > 1e-3  # not constant: the tests can fail
    return audio, text


def test_features_are_the_extractors() -> None:
    extractor = pe_processor().feature_extractor
    rng = np.random.default_rng(0)
    for samples in (480_000, 4801, 1):
        hear = RawWaveform(sampling_rate=48_000, n_samples=samples, hop_length=extractor.hop_length)
        sound = rng.standard_normal((2, samples)).astype(np.float32)
        if samples > 1:  # of a single sample nothing can be mirrored
            wanted = extractor(list(sound), sampling_rate=48_000, return_tensors="pt")["input_values"]
            assert torch.equal(hear(torch.from_numpy(sound)), wanted)
    hear = features_of(extractor)
    assert hear.n_samples == 480_000 and hear(torch.ones(2, 100)).shape == (2, 1, 480_000)
    assert torch.equal(hear(torch.ones(1, 100))[0, 0].nonzero().flatten(), torch.arange(100))
    with pytest.raises(ValueError, match=r"at most 10 s are heard .*found 10.1 s.*never cropped here"):
        hear(torch.zeros(1, 484_800))


def test_every_split_gives_the_models_own_embeddings() -> None:
    model, batch = pe_audio(), batch_of()
    audio, text = own_embeds(model, batch)
    towers, mask = towers_of(model), batch["attention_mask"]
    assert (mask == 0).any() and len(towers.audio_layers) == len(towers.text_layers) == 3
    with torch.no_grad():
        for trained in range(4):
            split_point = SplitPoint(trained, trained)
            tokens = towers.audio_prefix(split_point, batch["input_features"])
            torch.testing.assert_close(towers.audio_suffix(split_point, tokens), audio, atol=1e-5, rtol=0)
            hidden = towers.text_prefix(split_point, batch["input_ids"], mask)
            torch.testing.assert_close(towers.text_suffix(split_point, hidden, mask), text, atol=1e-5, rtol=0)
            attach_split_forward(model, split_point)
            whole = model(**{name: batch[name] for name in ("input_features", "input_ids", "attention_mask")})
            split = model(audio_tokens=tokens, text_hidden=hidden, attention_mask=mask, chunk_rows=2)
            for out in (whole, split):
                torch.testing.assert_close(out.audio_embeds, audio, atol=1e-5, rtol=0)
                torch.testing.assert_close(out.text_embeds, text, atol=1e-5, rtol=0)


def test_what_is_embedded_is_what_is_split() -> None:
    model, processor, batch = pe_audio(), pe_processor(RATE), batch_of()
    audio, text = own_embeds(model, batch)
    sounds = [row[0].numpy() for row in batch["input_features"]]
    torch.testing.assert_close(embed_audio(model, processor, sounds), audio, atol=1e-5, rtol=0)
    captions = [row[f"{view}_caption"] for view in ("forward", "single") for row in groups(3, ("forward", "single"))]
    torch.testing.assert_close(embed_text(model, processor, captions), text, atol=1e-5, rtol=0)
    assert encoder_of(model, processor).max_seconds is None


@pytest.mark.parametrize(
    "policy, trained",
    [
        (StagePolicy(), {"audio_encoder.layers.2", "text_model.layers.2", "norms", "heads"}),
        (StagePolicy(audio_blocks=0), {"text_model.layers.2", "text norm", "heads"}),
        (StagePolicy(0, 0), {"heads"}),
        (
            StagePolicy(2, 0, projections=False),
            {"audio_encoder.layers.1", "audio_encoder.layers.2", "audio norm"},
        ),
    ],
)
def test_a_stage_trains_what_it_says(policy: StagePolicy, trained: set[str]) -> None:
    model = pe_audio()
    _, trainable = apply_stage(model, policy)
    stand_for = {
        "heads": ("audio_head.", "text_audio_head."),
        "audio norm": ("audio_encoder.norm.", "audio_encoder.output."),
        "text norm": ("text_model.final_norm.",),
        "norms": ("audio_encoder.norm.", "audio_encoder.output.", "text_model.final_norm."),
    }
    prefixes = tuple(prefix for name in trained for prefix in stand_for.get(name, (f"{name}.",)))
    wanted = {name for name, _ in model.named_parameters() if name.startswith(prefixes)}
    assert set(trainable.names) == wanted == {name for name, p in model.named_parameters() if p.requires_grad}


def test_gradients_reach_what_is_trained_and_nothing_else() -> None:
    model, batch = pe_audio(), batch_of()
    apply_stage(model, StagePolicy())
    train_mode(model)
    audio = model(**{name: batch[name] for name in ("input_features", "input_ids", "attention_mask")})
    target = torch.randn(audio.audio_embeds.shape, generator=torch.Generator().manual_seed(0))
    ((audio.audio_embeds + audio.text_embeds) * target).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        else:
            assert parameter.grad is None, name


def test_more_layers_than_there_are_say_how_many() -> None:
    with pytest.raises(ConfigError, match="text_layers=4, but this model has 3; give 0 to 3"):
        apply_stage(pe_audio(), StagePolicy(text_layers=4))


def test_adapters_are_merged_into_a_plain_checkpoint(tmp_path: Path) -> None:
    base, batch = pe_audio(), batch_of()
    tuned, _ = apply_stage(pe_audio(), StagePolicy(tuning="lora", lora_rank=2))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    with torch.no_grad():
        before = tuned(**{name: batch[name] for name in ("input_features", "input_ids", "attention_mask")})
    save_checkpoint(tuned, pe_processor(RATE), tmp_path)
    loaded = PeAudioModel.from_pretrained(tmp_path)
    assert set(loaded.state_dict()) == set(base.state_dict())
    for ours, theirs in zip((before.audio_embeds, before.text_embeds), own_embeds(loaded, batch), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert not torch.allclose(before.audio_embeds, own_embeds(base, batch)[0], atol=1e-3)


def test_the_audio_part_of_an_audio_video_checkpoint_is_opened_and_saved_alone(tmp_path: Path) -> None:
    model = pe_audio()
    try:
        save_audio_video(model, tmp_path / "av")
    except ImportError:
        pytest.skip("this transformers needs timm for the configuration of PE-Audio-Video alone; 5.23 does not")
    found, processor = load_checkpoint(str(tmp_path / "av"))
    save_checkpoint(found, processor, tmp_path / "a")
    again, _ = load_checkpoint(str(tmp_path / "a"))
    assert type(again) is PeAudioModel
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_another_text_tower_is_named() -> None:
    model = pe_audio()
    model.text_model = BertModel(BertConfig(vocab_size=5, hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    with pytest.raises(CheckpointError, match="reads captions by BertModel; only ModernBertModel"):
        towers_of(model)
