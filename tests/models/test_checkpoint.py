"""Checkpoints in and out."""

import errno
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import BertConfig, ClapModel, ClapProcessor

from support.tiny import assert_equal, groups, tiny_clap, tiny_processor, weights
from teminal_hf.audio.log_mel import LogMel
from teminal_hf.clips.sources import sound_bank
from teminal_hf.data.captions import CONNECTIVES, caption
from teminal_hf.data.groups import plain_caption, plan
from teminal_hf.data.zste_items import plan_zste
from teminal_hf.errors import CheckpointError, NotFoundError, OfflineError, TeminalError
from teminal_hf.models import checkpoint as models
from teminal_hf.models.checkpoint import CLAP_MINI, load_clap, save_checkpoint
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.tools.doctor import diagnose
from teminal_hf.training.data_collator import GroupCollator


def test_embedded_base_is_small_plain_and_in_float32() -> None:
    model, processor = load_clap(CLAP_MINI)
    assert {p.dtype for p in model.parameters()} == {torch.float32} and not model.training
    assert processor.feature_extractor.padding == "pad"
    assert processor.feature_extractor.truncation == "rand_trunc"
    files = list(Path(models.__file__).with_name("clap_mini").iterdir())
    assert sum(file.stat().st_size for file in files) <= 6e6
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".txt"}
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_embedded_base_reads_every_caption_without_an_unknown_token() -> None:
    _, processor = load_clap(CLAP_MINI)
    bank = sound_bank(2)
    said = {text for item in plan_zste(bank) for text in item.candidates}
    for stage, views in (("stage_a", ("single", "double")), ("stage_b", ("single", "forward", "reversed", "overlay"))):
        for row in plan(stage, bank, 300, 0, ["all"], overlap_connectives=["all"]):
            said |= {row[f"{view}_caption"] for view in views} | {plain_caption(row, view) for view in views}
    said |= {caption(name, a, b) for name in CONNECTIVES for a in bank.classes for b in bank.classes if a != b}
    tokenizer = processor.tokenizer
    assert len(said) > 500
    ids = tokenizer(sorted(said))["input_ids"]
    assert not any(tokenizer.unk_token_id in row for row in ids)
    assert max(map(len, ids)) <= tokenizer.model_max_length
    # ZSTE's words are whole ones, not spelt by their letters; but for those of N and D, which came later
    asked = [caption for item in plan_zste(bank) for caption in item.candidates if item.task not in ("N", "D")]
    pieces = {token for row in tokenizer(asked)["input_ids"] for token in tokenizer.convert_ids_to_tokens(row)}
    assert not any(piece.startswith("##") for piece in pieces)
    assert tokenizer.unk_token_id in tokenizer("\N{SNOWMAN}")["input_ids"]  # there is an unknown token to find


def test_embedded_base_works_without_this_package() -> None:
    folder = Path(models.__file__).with_name("clap_mini")
    model, processor = ClapModel.from_pretrained(folder), ClapProcessor.from_pretrained(folder)
    sound = np.sin(np.arange(16_000) / 10)
    batch = processor(text=["dog", "rain"], audio=[sound] * 2, sampling_rate=16_000, return_tensors="pt")
    whole = LogMel.from_extractor(processor.feature_extractor)(torch.tensor(sound)[None])
    torch.testing.assert_close(batch["input_features"][:1], whole, atol=1e-3, rtol=0)
    model(**batch)  # takes all that the processor gives: no token_type_ids


def test_a_processor_that_has_truncated_hears_whole_recordings_once_loaded(tmp_path: Path) -> None:
    processor, sound = tiny_processor(), groups(1, ("forward",))[0]["forward"]["array"]
    truth = processor.feature_extractor(sound, sampling_rate=8_000, return_tensors="pt")["input_features"]

    def features(folder: Path) -> torch.Tensor:
        loaded = ClapProcessor.from_pretrained(folder)
        return loaded(text=["dog"], audio=[sound], sampling_rate=8_000, return_tensors="pt")["input_features"]

    processor.tokenizer(["dog", "rain"], truncation=True, padding=True)  # as every collator does
    processor.save_pretrained(tmp_path / "spoilt")
    assert features(tmp_path / "spoilt").shape != truth.shape or not torch.allclose(
        features(tmp_path / "spoilt"), truth, atol=1
    )  # the control
    save_checkpoint(tiny_clap(), processor, tmp_path / "ours")
    assert torch.equal(features(tmp_path / "ours"), truth)
    tiny_clap().save_pretrained(tmp_path / "spoilt")
    _, mended = load_clap(str(tmp_path / "spoilt"))
    save_checkpoint(tiny_clap(), mended, tmp_path / "mended")
    assert torch.equal(features(tmp_path / "mended"), truth)


def cut(name: str, share: float = 0.5) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return spoil


def without(*names: str) -> Callable[[Path], object]:
    return lambda folder: [(folder / name).unlink() for name in names]


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(tiny_clap().state_dict(), folder / "pytorch_model.bin")


def lacking(folder: Path) -> None:
    model = tiny_clap()
    model.save_pretrained(
        folder, state_dict={k: v for k, v in weights(model).items() if not k.startswith("text_projection.linear2")}
    )


def negative(folder: Path) -> None:
    state = weights(tiny_clap())
    name = "audio_model.audio_encoder.batch_norm.running_var"
    tiny_clap().save_pretrained(folder, state_dict=state | {name: -state[name]})


def extractor(name: str, value: float | None) -> Callable[[Path], object]:
    """A stored extractor with another value, None for none."""

    def spoil(folder: Path) -> None:
        stored = json.loads((folder / "processor_config.json").read_text())
        inner = stored["feature_extractor"]
        inner.pop(name)
        inner |= {} if value is None else {name: value}
        (folder / "processor_config.json").write_text(json.dumps(stored))

    return spoil


def tokens_beyond(folder: Path) -> None:
    stored = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = stored["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.get)] += 1000
    (folder / "tokenizer.json").write_text(json.dumps(stored))


def configured(old: str, new: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        text = (folder / "config.json").read_text()
        assert old in text
        (folder / "config.json").write_text(text.replace(old, new))

    return spoil


MORE_LAYERS = r"is not whole: \d+ weight tensor\(s\) are of layers that its config\.json does not have: "


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("config.json"), "holds no config.json, and so no checkpoint; give the folder of one or a Hub id"),
        (tiny_clap(depths=(1, 1)).config.save_pretrained, MORE_LAYERS + r"audio_model\..*layers\.1\.blocks\.1\."),
        (tiny_clap(text_layers=1).config.save_pretrained, MORE_LAYERS + r"text_model\.encoder\.layer\.1\."),
        (
            cut("config.json"),
            r"cannot be loaded: .*config\.json' is not a valid JSON file\. .* `teminal doctor .*` says",
        ),
        (configured('"model_type": "clap"', '"model_type": "klap"'), "cannot be loaded: .* model type `klap` but"),
        (
            configured('"hidden_size": 16', '"hidden_size": "x"'),
            "cannot be loaded: Validation error for field 'hidden_",
        ),
        (BertConfig().save_pretrained, r"is a 'bert' checkpoint; a CLAP one \(model_type 'clap'\) is needed"),
        (without("model.safetensors"), r"cannot be loaded: .*no file named model\.safetensors"),
        (pickled, r"no file named model\.safetensors.*\(pytorch_model\.bin is a pickle, .* such as laion/clap-htsat-"),
        (cut("model.safetensors"), "cannot be loaded: Error while deserializing header"),
        (cut("model.safetensors", 0.0), "cannot be loaded: Error while deserializing header"),
        (
            lacking,
            r"2 weight tensor\(s\) are missing, and would be random: text_projection\.linear2\.bias, text.*\.weight; ",
        ),
        (
            tiny_clap(mels=32).config.save_pretrained,
            r"4 weight .* not of the size that its config\.json says: .*norm\.bias \(16,\) for \(32,\), .*, \.\.\.; ",
        ),
        (without("processor_config.json"), "cannot be loaded: Can't load feature extractor for"),
        (without("tokenizer.json"), "has no tokenizer, or an empty one; save its base's beside the weights"),
        (without("tokenizer.json", "tokenizer_config.json"), "has no tokenizer, or an empty one"),
        (cut("tokenizer.json"), r"cannot be loaded: tokenizer\.json is damaged: "),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot be loaded: KeyError 'added_tokens'"),
        (negative, r"1 weight tensor\(s\) hold variances below 0: .*batch_norm\.running_var; "),
        (extractor("max_length_s", 5), r"gives 313 frames \(max_length_s, .*\), the model takes 64"),
        (extractor("hop_length", 0), "has hop_length 0, which must be more than 0"),
        (extractor("feature_size", 8), "has feature_size 8, the model num_mel_bins 16"),
        (extractor("frequency_max", 5_000), "has frequency_max 5000 Hz, and hears 4000 at most"),
        (extractor("fft_window_size", None), "the feature extractor's file lacks fft_window_size"),
        (tokens_beyond, r"the tokenizer has numbers up to \d+, the model \d+ tokens"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_said(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    save_checkpoint(tiny_clap(), tiny_processor(), tmp_path)
    load_clap(str(tmp_path))
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=message) as error:
        load_clap(str(tmp_path))
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)


def test_what_is_no_folder_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("630k-best.pt").write_bytes(b"a pickle")
    Path("empty").mkdir()
    said = {
        ".": rf"^\. \({tmp_path}\) holds no config\.json, and so no checkpoint",
        "empty": r"^empty holds no config\.json",
        "": "^the name of a checkpoint is empty",
        "630k-best.pt": r"^630k-best\.pt is a file; .* converted form, such as laion/clap-htsat-unfused",
    }
    for name, message in said.items():
        with pytest.raises(CheckpointError, match=message) as error:
            load_clap(name)
        assert [(found.level, found.what) for found in diagnose(name)] == [("problem", str(error.value))]


def test_tensors_of_earlier_versions_are_passed_over(tmp_path: Path) -> None:
    model = tiny_clap()
    positions = {"text_model.embeddings.position_ids": torch.arange(40)[None]}
    model.save_pretrained(tmp_path, state_dict=weights(model) | positions)
    tiny_processor().save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert set(positions) <= set(file.keys())
    assert_equal(weights(load_clap(str(tmp_path))[0]), weights(model))


def test_a_checkpoint_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "stage_a-001").mkdir(parents=True)
    with pytest.raises(NotFoundError, match=re.escape("there is no folder runs/none; runs/ holds: stage_a-001")):
        load_clap("runs/none")
    with pytest.raises(OfflineError, match="Fetch it once, online: hf download laion/none"):
        load_clap("laion/none")


def test_the_systems_errors_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "config.json").touch()
    monkeypatch.setattr(models.AutoConfig, "from_pretrained", full)
    with pytest.raises(OSError, match="No space left") as error:
        load_clap(str(tmp_path))
    assert not isinstance(error.value, TeminalError)


def test_loading_makes_a_tiling_extractor_pad_and_half_precision_single(tmp_path: Path) -> None:
    processor = tiny_processor()
    processor.feature_extractor.padding = "repeatpad"
    tiny_clap().half().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    model, loaded = load_clap(str(tmp_path))
    assert loaded.feature_extractor.padding == "pad"
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_saved_checkpoint_is_read_bit_equal_without_this_package(tmp_path: Path) -> None:
    model, processor = tiny_clap(), tiny_processor()
    apply_stage(model, StagePolicy())
    model.logit_scale_a.data.fill_(3.0)
    rows = groups(2, ("forward",))
    batch = GroupCollator(processor, ["forward"])(rows)
    del batch["meanings"]
    with torch.no_grad():
        truth = model(**batch)
    plain = save_checkpoint(model, processor, tmp_path / "run")
    assert plain is model and "forward" not in vars(model)
    sounds, captions = [row["forward"]["array"] for row in rows], [row["forward_caption"] for row in rows]
    torch.save((sounds, captions), tmp_path / "rows.pt")
    script = """
import sys, torch
from transformers import ClapModel, ClapProcessor
folder = sys.argv[1]
model, processor = ClapModel.from_pretrained(f"{folder}/run"), ClapProcessor.from_pretrained(f"{folder}/run")
sounds, captions = torch.load(f"{folder}/rows.pt", weights_only=False)
batch = processor(text=captions, audio=sounds, sampling_rate=8000, padding=True, return_tensors="pt")
with torch.no_grad():
    out = model(**batch)
assert "teminal_hf" not in sys.modules and model.config.architectures == ["ClapModel"]
torch.save((model.state_dict(), out.audio_embeds, out.text_embeds, batch["input_ids"]), f"{folder}/out.pt")
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=120)
    state, audio, text, ids = torch.load(tmp_path / "out.pt")
    assert_equal(state, weights(model))
    assert state["logit_scale_t"].item() == 3.0
    assert torch.equal(ids, batch["input_ids"])
    torch.testing.assert_close(text, truth.text_embeds, atol=1e-6, rtol=0)
    torch.testing.assert_close(audio, truth.audio_embeds, atol=1e-4, rtol=0)  # its log-mel, not ours
    assert not list((tmp_path / "run").glob("*.bin"))
    again, _ = load_clap(str(tmp_path / "run"))
    assert_equal(weights(again), state)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_value_that_is_not_finite_is_found(value: float) -> None:
    module = torch.nn.Linear(300, 7)
    assert models.not_finite(module) == []
    module.weight.data[3, 211] = value
    assert models.not_finite(module) == ["weight"]
