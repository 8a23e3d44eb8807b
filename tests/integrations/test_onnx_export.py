"""Towers as ONNX, run by the real onnxruntime and fed with what lies beside them, against plain transformers.

Without onnx, onnxruntime or onnxscript these are skipped, or fail if TEMINAL_REQUIRE_ALL=1.
"""

import copy
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ClapModel, ClapProcessor

from support.needs import missing
from support.tiny import RATE, tiny_clap, tiny_processor
from teminal_hf.commands import cli
from teminal_hf.errors import CheckpointError, MissingExtraError, TakenError
from teminal_hf.integrations.onnx_export import export_onnx
from teminal_hf.models.checkpoint import CLAP_MINI, checkpoint_path

CAPTIONS = ["rain", "a dog barks before rain falls", "thunder, then a cat " * 8]  # the last is longer than is read


@pytest.fixture(scope="module")
def runtime() -> Any:
    for name in ("onnx", "onnxruntime", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            missing(f'ONNX needs {name}: pip install "teminal-hf[onnx]"')
    import onnxruntime

    return onnxruntime


@pytest.fixture(scope="module")
def folder(runtime: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "deep" / "mini"
    cli.main(["export", CLAP_MINI, "--output_dir", str(folder)])
    return folder


def ask(runtime: Any, file: Path, **inputs: Any) -> np.ndarray:
    return runtime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, inputs)[0]


def assert_embeds(embeds: np.ndarray, truth: torch.Tensor) -> None:
    """Equal to those of length 1 that the model's own method gives."""
    np.testing.assert_allclose(np.linalg.norm(embeds, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(embeds, torch.nn.functional.normalize(truth, dim=-1).numpy(), atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_recordings_as_transformers_embeds_them(runtime: Any, folder: Path, n: int) -> None:
    extractor, rng = ClapProcessor.from_pretrained(folder).feature_extractor, np.random.default_rng(n)
    sounds = [0.1 * rng.standard_normal(rng.integers(8_000, 160_000)) for _ in range(n)]
    features = extractor(sounds, sampling_rate=16_000, return_tensors="np")["input_features"].astype(np.float32)
    model = ClapModel.from_pretrained(checkpoint_path(CLAP_MINI)).eval()
    with torch.no_grad():
        truth = model.get_audio_features(input_features=torch.from_numpy(features)).pooler_output
    assert_embeds(ask(runtime, folder / "audio.onnx", input_features=features), truth)


@pytest.mark.parametrize("captions", [CAPTIONS[:1], CAPTIONS[1:2], CAPTIONS[:2], CAPTIONS, CAPTIONS * 3])
def test_captions_as_transformers_embeds_them(runtime: Any, folder: Path, captions: list[str]) -> None:
    tokenizer = ClapProcessor.from_pretrained(folder).tokenizer
    tokens = tokenizer(captions, padding=True, truncation=True, return_tensors="pt")
    model = ClapModel.from_pretrained(checkpoint_path(CLAP_MINI)).eval()
    with torch.no_grad():
        truth = model.get_text_features(**tokens).pooler_output
    assert_embeds(ask(runtime, folder / "text.onnx", **{name: ids.numpy() for name, ids in tokens.items()}), truth)


def test_the_record_says_how_to_feed_it(runtime: Any, folder: Path) -> None:
    record = json.loads((folder / "onnx.json").read_text())
    session = runtime.InferenceSession(folder / "audio.onnx")
    assert session.get_inputs()[0].shape == ["batch", 1, record["frames"], record["mels"]]
    assert (record["model"], record["sampling_rate"], record["samples"]) == (CLAP_MINI, 16_000, 160_000)
    scale = ClapModel.from_pretrained(checkpoint_path(CLAP_MINI)).logit_scale_a.exp().item()
    assert record["logit_scale"] == pytest.approx(scale)
    assert record["difference"].keys() == {"audio.onnx", "text.onnx"} and max(record["difference"].values()) < 1e-5
    text = runtime.InferenceSession(folder / "text.onnx")
    assert [each.shape for each in text.get_inputs()] == [["batch", "length"]] * 2
    assert [session.get_outputs()[0].name, text.get_outputs()[0].name] == ["audio_embeds", "text_embeds"]


def write_tiny(folder: Path, *, fused: bool = False) -> Path:
    processor = tiny_processor()
    processor.feature_extractor.truncation = "fusion" if fused else "rand_trunc"
    tiny_clap(fused=fused).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_a_fused_checkpoint_hears_the_first_of_its_four_spectrograms(runtime: Any, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "fused", fused=True)
    assert export_onnx(str(path), tmp_path / "onnx")["model"] == "fused"
    sound = 0.1 * np.random.default_rng(0).standard_normal(RATE // 2)
    extractor = ClapProcessor.from_pretrained(tmp_path / "onnx").feature_extractor
    features = extractor(sound, sampling_rate=RATE, return_tensors="pt")["input_features"].float()
    with torch.no_grad():
        truth = (
            ClapModel.from_pretrained(path)
            .eval()
            .get_audio_features(input_features=features, is_longer=torch.zeros(1, 1, dtype=torch.bool))
        )
    embeds = ask(runtime, tmp_path / "onnx" / "audio.onnx", input_features=features[:, :1].numpy())
    assert_embeds(embeds, truth.pooler_output)


def test_a_file_that_is_off_is_not_left(runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that gets the text tower a little wrong."""
    original, path = torch.onnx.export, write_tiny(tmp_path / "tiny")

    def export(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        wrong: Any = copy.deepcopy(module)
        wrong.clap.text_projection.linear1.bias.data += 0.01
        return original(wrong, *args, **kwargs)

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(CheckpointError, match=r"text.onnx differs from torch by \d\.\de-0\d in a component"):
        export_onnx(str(path), tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_holds_something_stays_as_it_is(runtime: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(TakenError, match="is there already and not an empty folder"):
        export_onnx(CLAP_MINI, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=re.escape('pip install "teminal-hf[onnx]"')):
        export_onnx(CLAP_MINI, tmp_path / "out")
    assert not (tmp_path / "out").exists()
