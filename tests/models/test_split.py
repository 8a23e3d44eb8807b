"""The split of a ClapModel at any place is the ClapModel itself."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import ClapModel

from support.tiny import embeddings, groups, tiny_clap, tiny_processor
from teminal_hf.models.embed import collapse_similarity
from teminal_hf.models.split import (
    attach_split_forward,
    detach_split_forward,
    towers_of,
    unwrap_model,
)
from teminal_hf.models.towers import SplitPoint
from teminal_hf.training.data_collator import GroupCollator

# (depths, text layers, mels, spectrogram side, window): 2, 3 and 4 stages; shifted windows where the depth is 2.
CONFIGS = {
    "two stages": ((1, 2), 2, 16, 32, 4),
    "three stages": ((2, 1, 1), 1, 16, 64, 4),
    "four stages": ((1, 1, 2, 1), 3, 32, 64, 2),
    "square spectrogram": ((2, 2), 1, 64, 64, 4),
}


def make(name: str) -> tuple[ClapModel, dict[str, Tensor]]:
    depths, layers, mels, spec, window = CONFIGS[name]
    model = tiny_clap(depths, layers, mels=mels, spec=spec, window=window)
    rows = groups(3, ("forward", "single"))  # captions of different length: padding in the batch
    return model, GroupCollator(tiny_processor(mels), ["forward", "single"])(rows)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_cut_gives_the_models_own_embeddings(name: str) -> None:
    model, batch = make(name)
    audio, text = embeddings(model, batch)
    assert audio.std(dim=0).mean() > 0.01 and text.std(dim=0).mean() > 0.01  # not constant: the test can fail
    with torch.no_grad():
        whole = model(**{key: value for key, value in batch.items() if key != "meanings"})
    torch.testing.assert_close(whole.audio_embeds, audio, atol=1e-5, rtol=0)
    n_blocks, n_layers = len(towers_of(model).audio_layers), len(model.text_model.encoder.layer)
    assert n_blocks == sum(CONFIGS[name][0])
    mask = batch["attention_mask"]
    assert (mask == 0).any()
    with torch.no_grad():
        for blocks in range(n_blocks + 1):
            split_point = SplitPoint(blocks, 0)
            tokens = towers_of(model).audio_prefix(split_point, batch["input_features"])
            torch.testing.assert_close(towers_of(model).audio_suffix(split_point, tokens), audio, atol=1e-5, rtol=0)
        for layers in range(n_layers + 1):
            split_point = SplitPoint(0, layers)
            hidden = towers_of(model).text_prefix(split_point, batch["input_ids"], mask)
            torch.testing.assert_close(towers_of(model).text_suffix(split_point, hidden, mask), text, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["two stages", "four stages"])
def test_attached_forward_takes_raw_input_or_prefixes_at_every_pair_of_cuts(name: str) -> None:
    model, batch = make(name)
    audio, text = embeddings(model, batch)
    del batch["meanings"]
    for blocks in range(len(towers_of(model).audio_layers) + 1):
        for layers in range(len(model.text_model.encoder.layer) + 1):
            split_point = SplitPoint(blocks, layers)
            attach_split_forward(model, split_point)
            with torch.no_grad():
                raw = model(**batch)
                tokens = towers_of(model).audio_prefix(split_point, batch["input_features"])
                hidden = towers_of(model).text_prefix(split_point, batch["input_ids"], batch["attention_mask"])
                split = model(audio_tokens=tokens, text_hidden=hidden, attention_mask=batch["attention_mask"])
            for out in (raw, split):
                torch.testing.assert_close(out.audio_embeds, audio, atol=1e-5, rtol=0)
                torch.testing.assert_close(out.text_embeds, text, atol=1e-5, rtol=0)


def test_attached_model_stays_a_plain_clap_model_and_detaching_restores_it(tmp_path: Path) -> None:
    model, batch = make("two stages")
    before, own = model.config.to_dict(), ClapModel.forward
    attach_split_forward(model, SplitPoint(1, 1))
    assert type(model) is ClapModel and model.config.to_dict() == before
    model.save_pretrained(tmp_path / "attached")
    detach_split_forward(model)
    detach_split_forward(model)  # once more is no error
    assert model.forward.__func__ is own and "forward" not in vars(model)
    model.save_pretrained(tmp_path / "plain")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "attached" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()
    assert json.loads((tmp_path / "attached/config.json").read_text())["architectures"] == ["ClapModel"]
    loaded = ClapModel.from_pretrained(tmp_path / "attached")
    for ours, theirs in zip(embeddings(model, batch), embeddings(loaded, batch), strict=True):
        assert torch.equal(ours, theirs)


def test_gradients_through_the_split_are_those_of_the_whole() -> None:
    model, batch = make("two stages")
    trained = dict(model.named_parameters())
    audio = model.get_audio_features(input_features=batch["input_features"]).pooler_output
    target = torch.randn(audio.shape, generator=torch.Generator().manual_seed(0))
    (audio * target).sum().backward()
    truth = {name: p.grad.clone() for name, p in trained.items() if p.grad is not None}
    model.zero_grad()
    split_point = SplitPoint(1, 1)
    tokens = towers_of(model).audio_prefix(split_point, batch["input_features"])
    (towers_of(model).audio_suffix(split_point, tokens) * target).sum().backward()
    assert len(truth) > 20
    for name, gradient in truth.items():
        torch.testing.assert_close(trained[name].grad, gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_plain_clap_looks_inside_wrappers() -> None:
    model = tiny_clap()
    assert unwrap_model(model) is model
    assert unwrap_model(nn.Sequential(nn.Identity(), model)) is model


def test_a_model_that_is_no_clap_is_named() -> None:
    with pytest.raises(TypeError, match="a transformers ClapModel or PeAudioModel is needed, found Linear"):
        unwrap_model(nn.Linear(2, 2))


def test_a_fused_checkpoint_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"fused CLAP model \(enable_fusion=True\).*open it with load_clap"):
        unwrap_model(tiny_clap(fused=True))


def test_collapse_similarity() -> None:
    generator = torch.Generator().manual_seed(0)
    constant = nn.functional.normalize(torch.ones(5, 8) + 1e-4 * torch.randn(5, 8, generator=generator), dim=-1)
    assert collapse_similarity(constant) == pytest.approx(1, abs=1e-5)
    assert collapse_similarity(torch.eye(4)) == pytest.approx(0, abs=1e-7)
    # By hand: pairs (e1, e1) -> 1, (e1, -e1) -> -1 twice; mean -1/3.
    assert collapse_similarity(torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-1 / 3)
