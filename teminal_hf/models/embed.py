"""Embeddings of recordings and captions, by the whole of a model."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import ClapModel, ClapProcessor, PeAudioModel

from teminal_hf.audio.log_mel import LogMel, device_of_features
from teminal_hf.audio.waveform import Waveform
from teminal_hf.errors import DataError
from teminal_hf.models.encoder import check_list, no_answer
from teminal_hf.models.split import recordings_at_once, towers_of, unwrap_model
from teminal_hf.models.tokenizer import tokenize, warn_of_cut
from teminal_hf.models.towers import SplitPoint

logger = logging.getLogger(__name__)

WHOLE = SplitPoint(0, 0)
COLLAPSED = 0.98  # mean cosine between captions of different classes; laion/larger_clap_music's is 1.00
CAPTIONS = 128  # at a time
_WHOLE_AT_ONCE = 8  # recordings of any length, and eight times as many captions


def embed_audio(model: nn.Module, processor: Any, waveforms: Sequence[Waveform]) -> Tensor:
    """Recordings, mono at the processor's rate and, for a CLAP, no longer than its window -> L2-normalised
    `audio_embeds` (n, D) on the CPU. What is shorter than a window is followed by silence, never repeated.

    Raises:
        ValueError: a recording longer than the window.
        DataError: one that is no waveform: of another shape, of whole numbers, empty, or not finite.
    """
    return _unit(encoder_of(model, processor).embed_audio([_checked(*each) for each in enumerate(waveforms)]))


def embed_text(model: nn.Module, processor: Any, captions: Sequence[str]) -> Tensor:
    """Captions -> L2-normalised `text_embeds` (n, D) on the CPU.

    Raises:
        ConfigError: one string in the place of a list of them.
    """
    check_list(captions)
    return _unit(encoder_of(model, processor).embed_text(captions))


def _checked(number: int, waveform: Any) -> Waveform:
    array = np.asarray(waveform)
    if array.ndim != 1 or array.dtype.kind != "f" or not array.size or not np.isfinite(array).all():
        found = f"{array.dtype} of shape {array.shape}" + ("" if array.dtype.kind != "f" else ", or not finite")
        raise DataError(
            f"recording {number} must be mono, an array (samples,) of finite floats within -1 and 1, found {found}; "
            "whole numbers of 16 bits are divided by 32768"
        )
    return array.astype(np.float32)


def _unit(embeds: NDArray[np.float32]) -> Tensor:
    return nn.functional.normalize(torch.from_numpy(embeds), dim=-1)


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
        found: ClapModel = unwrap_model(self.model).eval()
        return found

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

    @torch.inference_mode()
    def embed_audio(self, waveforms: Sequence[Waveform]) -> NDArray[np.float32]:
        clap, log_mel = self.clap, LogMel.from_extractor(self.processor.feature_extractor)
        towers, batch, device = towers_of(clap), recordings_at_once(clap.device), device_of_features(clap.device)
        log_mel.to(device)
        chunks = (waveforms[start : start + batch] for start in range(0, len(waveforms), batch))
        batches = (pad_sequence([torch.from_numpy(each) for each in chunk], batch_first=True) for chunk in chunks)
        features = (log_mel(waves.to(device)) for waves in batches)
        tokens = (towers.audio_prefix(WHOLE, chunk.to(clap.device)) for chunk in features)
        return _answered(torch.cat([towers.audio_suffix(WHOLE, chunk).cpu() for chunk in tokens]), "audio")

    @torch.inference_mode()
    def embed_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        clap, chunks = self.clap, []
        warn_of_cut(self.processor, captions)
        towers = towers_of(clap)
        # Captions of like length share a batch: less padding. The order is restored below.
        order = sorted(range(len(captions)), key=lambda i: len(captions[i]))
        for start in range(0, len(order), CAPTIONS):
            batch = [captions[i] for i in order[start : start + CAPTIONS]]
            tokens = tokenize(self.processor, batch).to(clap.device)
            hidden = towers.text_prefix(WHOLE, tokens["input_ids"], tokens["attention_mask"])
            chunks.append(towers.text_suffix(WHOLE, hidden, tokens["attention_mask"]).cpu())
        embeds = torch.cat(chunks)
        restored = torch.empty_like(embeds)
        restored[order] = embeds
        return _answered(restored, "text")


class PeAudioEncoder:
    """A `PeAudioModel`, or the `audio_model` of a `PeAudioVideoModel`, as an `Encoder` that hears recordings of any
    length whole: they are neither repeated nor cropped.

    Of transformers 5.23 not used, for it fails or misleads: `get_text_audio_embeds` (asks for hidden states that it did
    not order), the audio-video model's method of that name (calls one that is not there), `return_loss` (labels of 0
    and 1 where the sigmoid loss wants -1 and 1, so that negatives get no gradient), and the frame-level loss (wrong
    shape).

    Args:
        model: either.
        processor: a `PeAudioProcessor`, or any object that has its `feature_extractor` and `tokenizer`.
    """

    def __init__(self, model: nn.Module, processor: Any) -> None:
        self.model, self.processor = model, processor

    @property
    def _audio_model(self) -> Any:
        model = self.model.eval()
        return getattr(model, "audio_model", model)

    @property
    def sampling_rate(self) -> int:
        return int(self.processor.feature_extractor.sampling_rate)

    @property
    def max_seconds(self) -> None:
        return None

    @property
    def logit_scale(self) -> float:
        return float(self._audio_model.text_audio_logit_scale.detach())

    @torch.inference_mode()
    def embed_audio(self, waveforms: Sequence[Waveform]) -> NDArray[np.float32]:
        """(n, D). What has one length is embedded together, so that a recording's embedding does not depend on others,
        as it would with padding."""
        model, extractor = self._audio_model, self.processor.feature_extractor
        embeds: dict[int, NDArray[np.float32]] = {}
        for length in dict.fromkeys(map(len, waveforms)):
            rows = [row for row, waveform in enumerate(waveforms) if len(waveform) == length]
            for start in range(0, len(rows), _WHOLE_AT_ONCE):
                chunk = rows[start : start + _WHOLE_AT_ONCE]
                inputs = extractor(
                    [waveforms[row] for row in chunk], sampling_rate=extractor.sampling_rate, return_tensors="pt"
                )
                found = model.get_audio_embeds(inputs["input_values"].to(model.device)).float().cpu().numpy()
                embeds.update(zip(chunk, found, strict=True))
        return np.stack([embeds[row] for row in range(len(waveforms))])

    @torch.inference_mode()
    def embed_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """(n, D): the last hidden state's first token through `text_audio_head`, as in the model's own `forward`."""
        model, embeds = self._audio_model, []
        warn_of_cut(self.processor, captions)
        for start in range(0, len(captions), 8 * _WHOLE_AT_ONCE):
            tokens = tokenize(self.processor, captions[start : start + 8 * _WHOLE_AT_ONCE])
            ids, mask = (tokens[name].to(model.device) for name in ("input_ids", "attention_mask"))
            hidden = model.text_model(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
            embeds.append(model.text_audio_head(hidden).float().cpu().numpy())
        return np.concatenate(embeds)


TrainableEncoder = ClapEncoder | PeAudioEncoder


def encoder_of(model: nn.Module, processor: Any) -> TrainableEncoder:
    """A model that `load_checkpoint` opens, plain or wrapped, as an `Encoder`."""
    plain = unwrap_model(model)
    return PeAudioEncoder(plain, processor) if isinstance(plain, PeAudioModel) else ClapEncoder(model, processor)


def _answered(embeds: Tensor, tower: str) -> NDArray[np.float32]:
    """Embeddings of length 1 (n, D), if they are any."""
    if len(embeds) and not embeds.norm(dim=-1).min() > 0.5:  # they are of length 1; NaN is no answer either
        raise no_answer(tower)
    found: NDArray[np.float32] = embeds.numpy()
    return found


def check_text_tower(model: nn.Module, processor: Any) -> None:
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
