"""Embeddings of recordings and captions, by the whole of a model."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import ClapModel, ClapProcessor

from teminal_hf.audio.log_mel import LogMel, device_of_features
from teminal_hf.audio.waveform import Waveform
from teminal_hf.models.encoder import no_answer
from teminal_hf.models.split import (
    SplitPoint,
    audio_prefix,
    audio_suffix,
    recordings_at_once,
    text_prefix,
    text_suffix,
    unwrap_clap,
)
from teminal_hf.models.tokenizer import tokenize

logger = logging.getLogger(__name__)

WHOLE = SplitPoint(0, 0)
COLLAPSED = 0.98  # mean cosine between captions of different classes; laion/larger_clap_music's is 1.00
CAPTIONS = 128  # at a time


@torch.inference_mode()
def embed_audio(model: nn.Module, processor: ClapProcessor, waveforms: Sequence[Waveform]) -> Tensor:
    """Recordings, mono at the processor's rate and no longer than its window -> L2-normalised `audio_embeds` (n, D) on
    the CPU. What is shorter is followed by silence, never repeated.

    Raises:
        ValueError: a recording longer than the window.
    """
    clap, log_mel = unwrap_clap(model), LogMel.from_extractor(processor.feature_extractor)
    device = device_of_features(clap.device)
    log_mel.to(device)
    batch = recordings_at_once(clap.device)
    chunks = (waveforms[start : start + batch] for start in range(0, len(waveforms), batch))
    batches = (pad_sequence([torch.from_numpy(each) for each in chunk], batch_first=True) for chunk in chunks)
    features = (log_mel(waves.to(device)) for waves in batches)
    return torch.cat([embed_features(clap, chunk) for chunk in features])


@torch.inference_mode()
def embed_features(clap: ClapModel, input_features: Tensor) -> Tensor:
    """Log-mel (n, 1, frames, mels) -> L2-normalised `audio_embeds` (n, D) on the CPU."""
    chunks = input_features.to(clap.device).split(recordings_at_once(clap.device))
    embeds = [audio_suffix(clap, WHOLE, audio_prefix(clap, WHOLE, chunk)).cpu() for chunk in chunks]
    return _answered(torch.cat(embeds), "audio")


@torch.inference_mode()
def embed_text(model: nn.Module, processor: ClapProcessor, captions: Sequence[str]) -> Tensor:
    """Captions -> L2-normalised `text_embeds` (n, D) on the CPU."""
    clap = unwrap_clap(model)
    chunks = []
    # Captions of like length share a batch: less padding. The order is restored below.
    order = sorted(range(len(captions)), key=lambda i: len(captions[i]))
    for start in range(0, len(order), CAPTIONS):
        batch = [captions[i] for i in order[start : start + CAPTIONS]]
        tokens = tokenize(processor, batch).to(clap.device)
        hidden = text_prefix(clap, WHOLE, tokens["input_ids"], tokens["attention_mask"])
        chunks.append(text_suffix(clap, WHOLE, hidden, tokens["attention_mask"]).cpu())
    embeds = _answered(torch.cat(chunks), "text")
    restored = torch.empty_like(embeds)
    restored[order] = embeds
    return restored


class ClapEncoder:
    """A `ClapModel`, plain or wrapped, as an `Encoder`; it is put in eval mode whenever it is asked.

    Args:
        model: stays what it is, and is read anew at every call.
        processor: the model's.
    """

    def __init__(self, model: nn.Module, processor: ClapProcessor) -> None:
        self.model, self.processor = model, processor

    @property
    def clap(self) -> ClapModel:
        return unwrap_clap(self.model).eval()

    @property
    def sampling_rate(self) -> int:
        return int(self.processor.feature_extractor.sampling_rate)

    @property
    def max_seconds(self) -> float:
        extractor = self.processor.feature_extractor
        return float(extractor.nb_max_samples / extractor.sampling_rate)

    @property
    def logit_scale(self) -> float:
        return float(self.clap.logit_scale_a.detach().exp())

    def embed_audio(self, waveforms: Sequence[Waveform]) -> NDArray[np.float32]:
        return embed_audio(self.clap, self.processor, waveforms).numpy()

    def embed_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        return embed_text(self.clap, self.processor, captions).numpy()


def _answered(embeds: Tensor, tower: str) -> Tensor:
    """The embeddings (n, D), if they are any."""
    if len(embeds) and not embeds.norm(dim=-1).min() > 0.5:  # they are of length 1; NaN is no answer either
        raise no_answer(tower)
    return embeds


def check_text_tower(model: nn.Module, processor: ClapProcessor) -> None:
    """Warn of a text tower that has collapsed, before anything is trained."""
    warn_if_collapsed(embed_text(model, processor, ["rain", "a dog barks", "church bells", "an engine", "laughing"]))


def warn_if_collapsed(text_embeds: Tensor) -> None:
    """Warn where different captions get nearly one embedding (n, D): such a checkpoint cannot be asked anything."""
    if len(text_embeds) > 1 and (mean := collapse_similarity(text_embeds)) > COLLAPSED:
        logger.warning(
            "the text tower gives different captions nearly the same embedding (mean cosine %.3f): it has collapsed, "
            "as laion/larger_clap_music's has (embeddings-benchmark/mteb#5069); use another checkpoint",
            mean,
        )


@torch.no_grad()
def collapse_similarity(text_embeds: Tensor) -> float:
    """Mean cosine similarity between different captions' embeddings (n, D), in [-1, 1]; near 1 in a collapsed tower."""
    similarity = text_embeds @ text_embeds.T
    n = len(similarity)
    return float((similarity.sum() - similarity.diagonal().sum()) / (n * (n - 1)))
