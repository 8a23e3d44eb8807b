"""What a stage trains: names, counts, modes, adapters and their merge."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import ClapConfig, ClapModel

from support.tiny import embeddings, groups, tiny_clap, tiny_processor, train_mode
from teminal_hf.models.checkpoint import save_checkpoint
from teminal_hf.models.split import towers_of, unwrap_model
from teminal_hf.models.stages import StagePolicy, Trainable, apply_stage, merged
from teminal_hf.models.towers import SplitPoint
from teminal_hf.training.data_collator import GroupCollator

ENCODER = "audio_model.audio_encoder"
LAST_BLOCK, LAST_LAYER = f"{ENCODER}.layers.1.blocks.1.", "text_model.encoder.layer.1."
PROJECTIONS = ("audio_projection.", "text_projection.")
DEFAULT = (LAST_BLOCK, f"{ENCODER}.norm.", LAST_LAYER, *PROJECTIONS, "logit_scale_a")

# Counted by hand for width 16, 2 heads, windows of 4 x 4, MLPs of 64 (audio) and 32 (text): each attention is four
# dense layers of 16 * 16 + 16, and the relative position bias is (2 * 4 - 1) ** 2 entries per head.
DENSE = 16 * 16 + 16
AUDIO_BLOCK = 4 * DENSE + 49 * 2 + (16 * 64 + 64) + (64 * 16 + 16) + 2 * 32
TEXT_LAYER = 4 * DENSE + (16 * 32 + 32) + (32 * 16 + 16) + 2 * 32
TOTAL = 15_336

# peft 0.21 asks transformers 5.23 for a name it has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def names_under(model: nn.Module, prefixes: tuple[str, ...]) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}


def batch_of(rows: int = 3) -> dict[str, Tensor]:
    return GroupCollator(tiny_processor(), ["forward"])(groups(rows, ("forward",)))


def test_default_policy_trains_what_it_says_and_nothing_else() -> None:
    model = tiny_clap()
    tuned, trainable = apply_stage(model, StagePolicy())
    assert tuned is model
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == names_under(model, DEFAULT) == set(trainable.names)
    for prefix in DEFAULT:
        assert any(name.startswith(prefix) for name in trained), prefix
    assert trainable.count == AUDIO_BLOCK + 32 + TEXT_LAYER + 4 * DENSE + 1 == 6723
    assert trainable.total == TOTAL
    assert trainable.share == pytest.approx(6723 / 15336)
    assert str(trainable) == "6,723 of 15,336 parameters (43.8%)"


@pytest.mark.parametrize(
    "policy, prefixes, count",
    [
        (StagePolicy(0, 0), (*PROJECTIONS, "logit_scale_a"), 4 * DENSE + 1),
        (StagePolicy(0, 0, projections=False), ("logit_scale_a",), 1),
        (StagePolicy(1, 0, projections=False), (LAST_BLOCK, f"{ENCODER}.norm.", "logit_scale_a"), AUDIO_BLOCK + 33),
        (
            StagePolicy(0, 1, text_pooler=True, projections=False),
            (LAST_LAYER, "text_model.pooler.", "logit_scale_a"),
            TEXT_LAYER + DENSE + 1,
        ),
        (
            StagePolicy(2, 0, projections=False),  # the whole last stage; the downsampling before it is not in it
            (f"{ENCODER}.layers.1.", f"{ENCODER}.norm.", "logit_scale_a"),
            2 * AUDIO_BLOCK + 33,
        ),
    ],
)
def test_other_policies(policy: StagePolicy, prefixes: tuple[str, ...], count: int) -> None:
    model = tiny_clap()
    _, trainable = apply_stage(model, policy)
    assert set(trainable.names) == names_under(model, prefixes)
    assert trainable.count == count
    assert policy.split_point == SplitPoint(policy.audio_blocks, policy.text_layers)


def test_blocks_are_counted_over_stages_with_the_downsampling_between_them() -> None:
    model = tiny_clap((1, 1, 2, 1), mels=32, spec=64, window=2)
    _, trainable = apply_stage(model, StagePolicy(audio_blocks=3, text_layers=0, projections=False))
    assert set(trainable.names) == names_under(
        model,
        (
            f"{ENCODER}.layers.2.blocks.",
            f"{ENCODER}.layers.2.downsample.",
            f"{ENCODER}.layers.3.",
            f"{ENCODER}.norm.",
            "logit_scale_a",
        ),
    )


def test_share_of_laions_size_is_the_papers() -> None:
    with torch.device("meta"):  # shapes alone, no memory
        model = ClapModel(ClapConfig())
    _, trainable = apply_stage(model, StagePolicy())
    assert 153.0e6 < trainable.total < 154.0e6
    assert 0.100 <= trainable.share <= 0.102


@pytest.mark.parametrize(
    "policy, message",
    [
        (StagePolicy(audio_blocks=4), "audio_blocks=4, but this model has 3; give 0 to 3"),
        (StagePolicy(text_layers=3), "text_layers=3, but this model has 2; give 0 to 2"),
        (StagePolicy(audio_blocks=-1), "audio_blocks=-1, but this model has 3"),
    ],
)
def test_more_than_the_model_has(policy: StagePolicy, message: str) -> None:
    model = tiny_clap()
    with pytest.raises(ValueError, match=re.escape(message)):
        apply_stage(model, policy)
    assert all(p.requires_grad for p in model.parameters()) and "forward" not in vars(model)  # left as it was


def test_a_fused_checkpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="enable_fusion=True"):
        apply_stage(tiny_clap(fused=True), StagePolicy())


def test_applying_a_second_policy_replaces_the_first() -> None:
    model = tiny_clap()
    apply_stage(model, StagePolicy(audio_blocks=3))
    _, trainable = apply_stage(model, StagePolicy())
    assert set(trainable.names) == names_under(model, DEFAULT)


def lora(rank: int = 4) -> tuple[nn.Module, Trainable, ClapModel]:
    model = tiny_clap()
    tuned, trainable = apply_stage(model, StagePolicy(tuning="lora", lora_rank=rank))
    return tuned, trainable, model


def test_lora_trains_adapters_of_the_same_layers_only() -> None:
    tuned, trainable, _ = lora()
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable.names)
    # rank * (inputs + outputs) of every dense layer of the audio block, the text layer and the two projections
    assert trainable.count == 4 * (4 * 32 + 2 * 80) + 4 * (4 * 32 + 2 * 48) + 4 * (4 * 32)
    assert trainable.total == TOTAL  # the adapters are not counted in
    assert Trainable.of(tuned) == trainable
    places = {re.sub(r"^base_model\.model\.|\.lora_[AB].*$", "", name) for name in trainable.names}
    assert all(place.startswith(DEFAULT) for place in (p + "." for p in places))
    assert len(places) == 6 + 6 + 4


def test_lora_merge_equals_the_adapter_model_and_loads_without_this_package(tmp_path: Path) -> None:
    tuned, _, _ = lora()
    batch, generator = batch_of(), torch.Generator().manual_seed(1)
    inputs = {name: value for name, value in batch.items() if name != "meanings"}
    with torch.no_grad():
        at_start = tuned(**inputs)
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:  # zero at the start: the merge would be tested on nothing
                parameter.normal_(std=0.1, generator=generator)
        adapted = tuned(**inputs)
    assert (adapted.audio_embeds - at_start.audio_embeds).abs().max() > 1e-2
    assert (adapted.text_embeds - at_start.text_embeds).abs().max() > 1e-2
    plain = save_checkpoint(tuned, tiny_processor(), tmp_path)
    assert type(plain) is ClapModel and not any("lora" in name for name, _ in plain.named_modules())
    torch.save(batch, tmp_path / "batch.pt")
    script = """
import sys, torch
from transformers import ClapModel
folder = sys.argv[1]
model, batch = ClapModel.from_pretrained(folder), torch.load(f"{folder}/batch.pt")
with torch.no_grad():
    audio = model.get_audio_features(input_features=batch["input_features"]).pooler_output
    text = model.get_text_features(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).pooler_output
assert "teminal_hf" not in sys.modules and "peft" not in sys.modules
assert model.config.architectures == ["ClapModel"]
torch.save((audio, text), f"{folder}/out.pt")
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=120)
    audio, text = torch.load(tmp_path / "out.pt")
    torch.testing.assert_close(audio, adapted.audio_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(text, adapted.text_embeds, atol=1e-5, rtol=0)


def test_merged_copies_the_trained_log_scale() -> None:
    model = tiny_clap()
    model.logit_scale_a.data.fill_(3.5)
    plain = merged(model)
    assert plain is model and plain.logit_scale_t.item() == 3.5


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_frozen_modules_are_all_but_the_trained_layers(tuning: str) -> None:
    model = tiny_clap(dropout=0.5)
    tuned, _ = apply_stage(model, StagePolicy(tuning=tuning))
    train_mode(tuned)
    assert tuned.training
    names = {name: m for name, m in model.named_modules() if type(m) is nn.Dropout and "lora" not in name}
    on = {name for name, m in names.items() if m.training}
    assert on == {name for name in names if name.startswith((LAST_BLOCK, LAST_LAYER))}
    assert len(on) >= 5 and len(names) > len(on)
    assert not model.audio_model.audio_encoder.batch_norm.training

    batch, split_point = batch_of(), SplitPoint(1, 1)
    inputs = {name: value for name, value in batch.items() if name != "meanings"}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert torch.equal(
        towers_of(model).audio_prefix(split_point, batch["input_features"]),
        towers_of(model).audio_prefix(split_point, batch["input_features"]),
    )
    words = batch["input_ids"], batch["attention_mask"]
    towers = towers_of(model)
    assert torch.equal(towers.text_prefix(split_point, *words), towers.text_prefix(split_point, *words))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, other = tuned(**inputs), tuned(**inputs)
    assert not torch.equal(one.audio_embeds, other.audio_embeds)
    assert not torch.equal(one.text_embeds, other.text_embeds)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, buffers[name]), name


def test_in_train_mode_the_frozen_batch_norm_would_drift() -> None:
    """The control of the test above: `model.train()` alone does move the statistics."""
    model = tiny_clap()
    before = model.audio_model.audio_encoder.batch_norm.running_mean.clone()
    model.train()
    embeddings(model, batch_of())
    assert not torch.equal(model.audio_model.audio_encoder.batch_norm.running_mean, before)


def test_lora_model_is_found_inside_its_wrapper() -> None:
    tuned, _, model = lora()
    assert unwrap_model(tuned) is model
