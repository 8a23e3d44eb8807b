"""A model in two parts: the frozen prefix of each tower and the trainable suffix.

`suffix(prefix(x))` is the model itself: what is frozen can be computed once and read back in later epochs.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import ClapModel, PeAudioModel
from transformers.models.clap.modeling_clap import ClapOutput

from teminal_hf.errors import CheckpointError
from teminal_hf.models.clap_towers import ClapTowers
from teminal_hf.models.pe_audio_towers import PeAudioTowers
from teminal_hf.models.towers import SplitPoint, Towers

TrainedModel = ClapModel | PeAudioModel


def unwrap_model(model: nn.Module) -> Any:
    """The `ClapModel` or `PeAudioModel` inside a peft, DDP or compile wrapper, or the model itself.

    Raises:
        TypeError: there is none.
        CheckpointError: a fused CLAP checkpoint.
    """
    found = next((module for module in model.modules() if isinstance(module, TrainedModel)), None)
    if found is None:
        raise TypeError(f"a transformers ClapModel or PeAudioModel is needed, found {type(model).__name__}")
    if isinstance(found, ClapModel) and found.audio_model.config.enable_fusion:
        raise CheckpointError(
            "this is a fused CLAP model (enable_fusion=True), which mixes random crops of long audio; open it with "
            "load_clap, which takes the fusion out, and save it with save_checkpoint, which puts it back"
        )
    return found


def towers_of(model: nn.Module) -> Towers:
    """The towers of a model, plain or wrapped; errors as of `unwrap_model`."""
    plain = unwrap_model(model)
    return PeAudioTowers(plain) if isinstance(plain, PeAudioModel) else ClapTowers(plain)


def recordings_at_once(device: torch.device) -> int:
    """More have activations of over 32 MiB on a CPU, which the C library maps anew, page by page, each time: a fifth of
    the first pass of laion's size. Fewer leave a GPU idle."""
    return 4 if device.type == "cpu" else 128


def split_forward(
    model: TrainedModel,
    split_point: SplitPoint,
    *,
    input_features: Tensor | None = None,
    audio_tokens: Tensor | None = None,
    input_ids: Tensor | None = None,
    text_hidden: Tensor | None = None,
    attention_mask: Tensor,
    chunk_rows: int = 0,
    also: Mapping[str, Any] | None = None,
) -> ClapOutput:
    """Embeddings of both towers, each from raw input (`input_features`, `input_ids`) or from its prefix's output
    (`audio_tokens`, `text_hidden`); of further rows (`also`) it may be text alone.

    Args:
        chunk_rows: embed so many rows at a time and, for gradients, embed each chunk a second time when its turn comes
            in the backward pass: memory for one chunk instead of the batch, the gradients exactly those of the whole
            (GradCache, arXiv 2101.06983). Rows must not depend on each other, so BatchNorm is in eval mode, as frozen
            modules are. 0 embeds all rows at once.
        also: further rows, of other lengths or from another side of the split, whose embeddings follow the others': DDP
            prepares one backward pass for one call.
    """
    audio = audio_tokens if audio_tokens is not None else input_features
    words = text_hidden if text_hidden is not None else input_ids
    assert words is not None
    towers = towers_of(model)
    rows = chunk_rows or len(words)
    # The chunks are here and not in the trainer's loop, for DDP.
    suffix: Any = partial(checkpoint, use_reentrant=False) if chunk_rows else _call
    audio_embeds, text_embeds = [], []
    for chunk in () if audio is None else audio.split(rows):
        tokens = chunk if audio_tokens is not None else towers.audio_prefix(split_point, chunk)
        audio_embeds.append(suffix(towers.audio_suffix, split_point, tokens))
    for chunk, mask in zip(words.split(rows), attention_mask.split(rows), strict=True):
        hidden = chunk if text_hidden is not None else towers.text_prefix(split_point, chunk, mask)
        text_embeds.append(suffix(towers.text_suffix, split_point, hidden, mask))
    if also is not None:
        others = split_forward(model, split_point, **also, chunk_rows=chunk_rows)
        audio_embeds += [] if others.audio_embeds is None else [others.audio_embeds]
        text_embeds.append(others.text_embeds)
    return ClapOutput(
        audio_embeds=torch.cat(audio_embeds) if audio_embeds else None, text_embeds=torch.cat(text_embeds)
    )


def _call(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    return function(*arguments)


def attach_split_forward(model: TrainedModel, split_point: SplitPoint) -> None:
    """Let `model(...)` take prefix outputs too. On the instance, not in a subclass: the model stays a plain
    one for saving, while DDP and peft, which call `forward`, go through the split."""
    model.forward = partial(split_forward, model, split_point)


def frozen(model: TrainedModel, split_point: SplitPoint) -> TrainedModel:
    """`model`, to be asked and not trained, taking prefix outputs too."""
    attach_split_forward(model.requires_grad_(False), split_point)
    return model


def detach_split_forward(model: TrainedModel) -> None:
    """Undo `attach_split_forward`."""
    model.__dict__.pop("forward", None)
