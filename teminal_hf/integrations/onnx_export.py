"""Both towers of a CLAP checkpoint as ONNX files, compared with torch before they are left."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import ClapModel, ClapProcessor

from teminal_hf.audio.log_mel import LogMel
from teminal_hf.errors import CheckpointError, MissingExtraError
from teminal_hf.hub.cards import public_name
from teminal_hf.models.checkpoint import load_clap
from teminal_hf.models.embed import WHOLE
from teminal_hf.models.split import towers_of
from teminal_hf.models.tokenizer import fit_to_towers, tokenize
from teminal_hf.storage.atomic import folder_written_whole, no_full_disk, write_json

TOLERANCE = 1e-4  # of a component of an embedding of length 1; what is right is off by about 1e-6
RECORD = "onnx.json"
# Of several lengths, so that there is padding.
_CAPTIONS = ("rain", "a dog barks before rain falls", "church bells and a cat, followed by the ticking of a clock")


class _AudioTower(nn.Module):
    """Log-mel (n, 1, frames, mels) -> `audio_embeds` (n, D)."""

    def __init__(self, clap: ClapModel) -> None:
        super().__init__()
        self.clap = clap

    def forward(self, input_features: Tensor) -> Tensor:
        towers = towers_of(self.clap)
        return towers.audio_suffix(WHOLE, towers.audio_prefix(WHOLE, input_features))


class _TextTower(nn.Module):
    """Token ids and mask (n, L) -> `text_embeds` (n, D)."""

    def __init__(self, clap: ClapModel) -> None:
        super().__init__()
        self.clap = clap

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        towers = towers_of(self.clap)
        hidden = towers.text_prefix(WHOLE, input_ids, attention_mask)
        return towers.text_suffix(WHOLE, hidden, attention_mask)


@dataclass(frozen=True)
class _Tower:
    """`example` is what it is traced with, `others` what it is compared on: other numbers of rows, other lengths."""

    file: str
    module: nn.Module
    output: str
    axes: dict[int, str]
    example: dict[str, Tensor]
    others: tuple[dict[str, Tensor], ...]


def export_onnx(model: str, folder: Path) -> dict[str, Any]:
    """Write `audio.onnx` and `text.onnx` of a checkpoint to `folder`, and what is needed to feed them.

    audio.onnx: `input_features` (batch, 1, frames, mels), log-mel in dB -> `audio_embeds` (batch, D); text.onnx:
    `input_ids`, `attention_mask` (batch, length) int64 -> `text_embeds` (batch, D). Both float32, of length 1; a cosine
    is their dot product. Beside them: the feature extractor's settings and the tokenizer, which `ClapProcessor` reads
    from there, and `onnx.json`, which is returned. The text tower's length is that of its tokenizer at most.

    Args:
        model: whatever `load_clap` opens.
        folder: free; it is there whole, or not at all.

    Returns:
        "model", "sampling_rate" (Hz), "samples" (the window), "frames", "mels", "logit_scale" (logits are this times
        the cosine), "difference": {file: the largest from torch, over seeded batches of several shapes}.

    Raises:
        CheckpointError: a file that differs from torch by more than 1e-4; nothing is left. And as `load_clap`.
        MissingExtraError: onnx, onnxruntime or onnxscript is not installed.
        TakenError: a folder that holds something.
        others: as `load_clap`.
    """
    runtime = _onnxruntime()
    with folder_written_whole(folder) as draft, no_full_disk(draft):
        clap, processor = load_clap(model)
        log_mel = LogMel.from_extractor(processor.feature_extractor)
        difference = {tower.file: _export(tower, draft, runtime) for tower in _towers(clap, processor, log_mel)}
        fit_to_towers(processor)
        processor.save_pretrained(draft)
        record = {
            "model": public_name(model),
            "sampling_rate": log_mel.sampling_rate,
            "samples": log_mel.n_samples,
            "frames": log_mel.n_frames,
            "mels": log_mel.n_mels,
            "logit_scale": float(clap.logit_scale_a.detach().exp()),
            "difference": difference,
        }
        write_json(draft / RECORD, record)
    return record


def _towers(clap: ClapModel, processor: ClapProcessor, log_mel: LogMel) -> tuple[_Tower, _Tower]:
    generator = torch.Generator().manual_seed(0)
    features = -40 + 20 * torch.randn((5, 1, log_mel.n_frames, log_mel.n_mels), generator=generator)
    words = [dict(tokenize(processor, captions)) for captions in (_CAPTIONS[:2], _CAPTIONS, _CAPTIONS[:1])]
    audio = [{"input_features": rows} for rows in features.split([2, 1, 2])]
    batch = {0: "batch"}
    return (
        _Tower(
            "audio.onnx", _AudioTower(clap), "audio_embeds", batch, audio[0], (*audio, {"input_features": features})
        ),
        _Tower("text.onnx", _TextTower(clap), "text_embeds", {**batch, 1: "length"}, words[0], tuple(words)),
    )


def _export(tower: _Tower, folder: Path, runtime: Any) -> float:
    """Write a tower, and return by how much it differs from torch.

    Raises:
        CheckpointError: by more than 1e-4.
    """
    path = folder / tower.file
    # The exporter of before (dynamo=False) traces: whatever Python decides by a shape is a constant afterwards (in
    # transformers' CLAP seven branches, by its own warnings), and a batch of another shape may come out wrong without a
    # word. torch.export fails where it cannot keep a dimension open.
    with torch.no_grad(), _quiet():
        torch.onnx.export(
            tower.module.eval(),
            kwargs=tower.example,
            f=path,
            input_names=list(tower.example),
            output_names=[tower.output],
            dynamic_shapes={name: tower.axes for name in tower.example},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    difference = max(_difference(tower, session, inputs) for inputs in tower.others)
    if not difference <= TOLERANCE:  # NaN is no agreement
        raise CheckpointError(
            f"{tower.file} differs from torch by {difference:.1e} in a component (expected: at most {TOLERANCE:.0e}), "
            "and nothing is written: try other versions of torch, onnxscript or onnxruntime, and report it"
        )
    return difference


@torch.no_grad()
def _difference(tower: _Tower, session: Any, inputs: dict[str, Tensor]) -> float:
    (embeds,) = session.run([tower.output], {name: value.numpy() for name, value in inputs.items()})
    return float(np.abs(embeds - tower.module(**inputs).numpy()).max())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings: of its own deprecations, of no torchvision, of axes that share a name."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _onnxruntime() -> Any:
    try:
        import onnx  # noqa: F401  # torch's exporter needs both
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f'ONNX is not there ({error}): pip install "teminal-hf[onnx]"') from error
    return onnxruntime
