"""Encoders: what evaluation needs of any audio-text model, whoever made it."""

import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from xxhash import xxh3_128

from teminal_hf.audio.waveform import Waveform
from teminal_hf.errors import CheckpointError, ConfigError

_ORIGIN = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "processor_class")


class Encoder(Protocol):
    """A model that puts recordings and captions into one space, where what fits together is near by the cosine.

    An object with these five members is one, whatever its class; `ClapEncoder` is that of a `ClapModel`.
    """

    @property
    def sampling_rate(self) -> int:
        """Of what it hears, in Hz."""

    @property
    def max_seconds(self) -> float | None:
        """The longest recording that it hears whole; None: of any length. Nothing longer is given to it."""

    @property
    def logit_scale(self) -> float:
        """Logits are this times the cosine; 1 where the model has none. Order among captions does not depend on it."""

    def embed_audio(self, waveforms: Sequence[Waveform]) -> ArrayLike:
        """Mono float32 recordings (samples,), of any lengths up to `max_seconds` -> (n, D), of any norm but 0."""

    def embed_text(self, captions: Sequence[str]) -> ArrayLike:
        """Captions -> (n, D), of any norm but 0."""


def audio_embeds(encoder: Encoder, waveforms: Sequence[Waveform]) -> NDArray[np.float64]:
    """What an encoder makes of recordings, as `unit_rows`."""
    return unit_rows(encoder.embed_audio(waveforms), len(waveforms), "audio")


def text_embeds(encoder: Encoder, captions: Sequence[str]) -> NDArray[np.float64]:
    """What an encoder makes of captions, as `unit_rows`."""
    return unit_rows(encoder.embed_text(captions), len(captions), "text")


def identity(encoder: Encoder) -> str:
    """A name of the model by which what it embedded is known again: a hash of weights and of how it hears.

    Raises:
        ConfigError: it has no torch `model` to take it from.
    """
    model = getattr(encoder, "model", None)
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"what a model embeds is kept by its weights, and {type(encoder).__name__} has no torch module as `model`"
        )
    extractor = getattr(getattr(encoder, "processor", None), "feature_extractor", None)
    settings = [_settings(each.to_dict()) for each in (getattr(model, "config", None), extractor) if each is not None]
    how = [encoder.sampling_rate, encoder.max_seconds, settings]
    hashed = xxh3_128(json.dumps(how, sort_keys=True, default=str).encode())
    for name, tensor in model.state_dict().items():
        hashed.update(name.encode())
        hashed.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def _settings(values: Any) -> Any:
    """Without what says where they are from."""
    if not isinstance(values, dict):
        return values
    return {name: _settings(value) for name, value in values.items() if name not in _ORIGIN}


def check_list(captions: Sequence[str]) -> None:
    """Raise a ConfigError for one string in the place of a list of them: its letters would be embedded."""
    if isinstance(captions, str):
        raise ConfigError(f"captions must be a list of strings, found the one string {captions!r}; give [{captions!r}]")


def unit_rows(embeds: ArrayLike, n: int, tower: str) -> NDArray[np.float64]:
    """Embeddings (n, D) of length 1, if they are any.

    Raises:
        CheckpointError: not one row each, or rows that are zero, NaN or infinite.
    """
    rows = np.asarray(embeds, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != n:
        raise CheckpointError(f"the {tower} tower gave shape {rows.shape} for {n} inputs; (n, D) is wanted, a row each")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise no_answer(tower)
    return rows / norms


def no_answer(tower: str) -> CheckpointError:
    """What is said of a tower whose embeddings are none: weights may be finite, and what comes of them not."""
    return CheckpointError(
        f"the {tower} tower gives embeddings that are NaN or zero: its weights are damaged, or of no trained "
        "model; take the checkpoint from its source again"
    )
