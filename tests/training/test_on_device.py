"""Log-mels in the collator's place, what is compiled, TF32: what a GPU would do, on a CPU."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from support.tiny import ALL_VIEWS, TinyRows, assert_equal, config, groups, staged, tiny_processor, trainer, weights
from teminal_hf.errors import ConfigError
from teminal_hf.models import frozen_prefix
from teminal_hf.models.frozen_prefix import FrozenPrefix
from teminal_hf.models.split import towers_of, unwrap_model
from teminal_hf.models.stages import StagePolicy
from teminal_hf.training.cached_groups import CachedGroups
from teminal_hf.training.config import TeminalConfig
from teminal_hf.training.data_collator import GroupCollator

CUT = StagePolicy().split_point


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path / "cache"))


def losses(trained: Any) -> list[float]:
    names = ("loss", "eval_loss")
    return [row[name] for row in trained.state.log_history for name in names if name in row]


def test_a_training_is_the_same_whoever_computes_log_mels(tmp_path: Path) -> None:
    found = []
    for on_device in (False, True):
        evaluated = {"eval_dataset": groups(4, ALL_VIEWS, 5), "eval_strategy": "steps", "eval_steps": 2}
        t = trainer(tmp_path, views=ALL_VIEWS, dataloader_num_workers=1, **evaluated)
        assert isinstance(t.data_collator, GroupCollator)
        t.data_collator.on_device = on_device
        batch = t.data_collator(groups(3, ALL_VIEWS))
        assert ("waveforms" in batch, "input_features" in batch) == (on_device, not on_device)
        t.train()
        found.append((losses(t), weights(t.model)))
    assert found[0][0] == found[1][0]
    assert_equal(found[0][1], found[1][1])


def test_a_first_pass_is_the_same_whoever_computes_log_mels() -> None:
    """And on a CPU, where the bits are the same, so is the entry."""
    tokens, read = [], []
    for on_device, dtype in ((False, "float32"), (True, "float32"), (True, "float16")):
        rows = TinyRows(groups(5, ALL_VIEWS))
        collator = GroupCollator(tiny_processor(), ALL_VIEWS, on_device=on_device)
        there = CachedGroups(staged(), CUT, rows, collator, dtype=dtype).fill()
        tokens.append(torch.stack([there[row]["audio_tokens"] for row in range(5)]))
        read.append(len(rows.read))
    assert read == [5, 0, 5]
    assert torch.equal(tokens[0].half(), tokens[2])


def test_where_log_mels_were_computed_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_prefix, "_content", lambda tensors: "the same")
    prefix = FrozenPrefix(unwrap_model(staged()), CUT, tiny_processor(), "float32")
    on_cpu = prefix.recordings(3, 2, "sounds").folder
    assert prefix.recordings(3, 2, "sounds").folder == on_cpu
    prefix._hear.to("meta")
    assert prefix.recordings(3, 2, "sounds").folder != on_cpu


@pytest.mark.parametrize(
    ("features_on", "device", "expected"),
    [
        ("auto", "cpu", False), ("auto", "cuda", True), ("auto", "mps", False),
        ("workers", "cuda", False), ("device", "cpu", True),
    ],
)  # fmt: skip
def test_who_computes_log_mels(
    features_on: str, device: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = config(tmp_path, features_on=features_on)
    monkeypatch.setattr(TeminalConfig, "device", torch.device(device))
    assert args.features_on_device is expected


def test_an_unknown_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown features_on 'gpu'; choose of auto, workers, device"):
        config(tmp_path, features_on="gpu")


def test_audio_is_embedded_on_the_device_of_the_batch() -> None:
    """On a device without data, where a tensor left on the CPU is an error."""
    collator = GroupCollator(tiny_processor(), ALL_VIEWS, on_device=True)
    waveforms = collator(groups(4, ALL_VIEWS))["waveforms"].to("meta")
    towers = towers_of(staged().to("meta"))
    audio = towers.audio_suffix(CUT, towers.audio_prefix(CUT, collator.hear.to("meta")(waveforms)))
    assert audio.device.type == "meta" and audio.shape == (16, 16)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21 under transformers 5.23
@pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning")  # peft 0.18, of a model with no name
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, while it traces
@pytest.mark.parametrize(
    "options",
    [{}, {"mini_batch_groups": 3}, {"tuning": "lora"}],
    ids=["plain", "chunks", "lora"],
)
def test_compiled_is_the_same_training(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses, evaluations, names in the checkpoint, and going on from it; the backend traces, and compiles nothing."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")  # transformers sets it, for the rest of the process
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Sequence[Any]) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(torch._dynamo.backends.registry, "lookup_backend", lambda name: backend)
    found = []
    for compiled in ({}, {"torch_compile": True, "torch_compile_backend": "eager"}):
        there = tmp_path / str(bool(compiled))
        torch.manual_seed(0)  # of which adapters are drawn
        kept = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "max_steps": 3}
        kept |= {"eval_dataset": groups(4, ALL_VIEWS, 5), "views": ALL_VIEWS}
        t = trainer(there, 8, **kept, **options, **compiled)
        t.train()
        whole = losses(t), load_file(next((there / "checkpoint-2").glob("*.safetensors")))
        t = trainer(there, 8, **kept, **options, **compiled)
        t.train(resume_from_checkpoint=str(there / "checkpoint-2"))
        assert losses(t) == pytest.approx(whole[0], rel=1e-4)
        found.append(whole)
        assert bool(graphs) == bool(compiled)
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4)
    assert found[1][1].keys() == found[0][1].keys()
    targets = {str(node.target) for graph in graphs for node in graph.graph.nodes}
    assert any("logsumexp" in target for target in targets), "the loss is not compiled"
    assert any("layer_norm" in target for target in targets), "the towers are not compiled"


def test_tf32_is_seen_however_it_was_asked_for() -> None:
    """In a process of its own: torch's settings are global, and the newer ones make it an error to read the older."""
    code = """
import torch
from teminal_hf.models.frozen_prefix import float32_precision
from transformers.utils.import_utils import enable_tf32
exact = float32_precision()
torch.set_float32_matmul_precision("high")
assert float32_precision() != exact, exact
enable_tf32(False)
exact = float32_precision()
enable_tf32(True)
assert float32_precision() != exact, exact
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
