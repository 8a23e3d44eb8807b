"""A `ClapModel` in two parts: the frozen prefix of each tower and the trainable suffix.

`suffix(prefix(x))` is the model itself: what is frozen can be computed once and read back in later epochs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import ClapModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.clap.modeling_clap import ClapOutput

from teminal_hf.errors import CheckpointError


@dataclass(frozen=True)
class SplitPoint:
    """Where each tower is split: the number of audio blocks (counted over stages, from the end) and of text layers that
    belong to the suffix."""

    audio_blocks: int
    text_layers: int


def unwrap_clap(model: nn.Module) -> ClapModel:
    """The `ClapModel` inside a peft, DDP or compile wrapper, or the model itself.

    Raises:
        TypeError: there is none.
        CheckpointError: a fused checkpoint.
    """
    found = next((module for module in model.modules() if isinstance(module, ClapModel)), None)
    if found is None:
        raise TypeError(f"a transformers ClapModel is needed, found {type(model).__name__}")
    if found.audio_model.config.enable_fusion:
        raise CheckpointError(
            "this is a fused CLAP model (enable_fusion=True), which mixes random crops of long audio; open it with "
            "load_clap, which takes the fusion out, and save it with save_clap, which puts it back"
        )
    return found


def recordings_at_once(device: torch.device) -> int:
    """More have activations of over 32 MiB on a CPU, which the C library maps anew, page by page, each time: a fifth of
    the first pass of laion's size. Fewer leave a GPU idle."""
    return 4 if device.type == "cpu" else 128


def audio_blocks(model: ClapModel) -> list[tuple[int, nn.Module]]:
    """Every Swin block in order, with the number of its stage."""
    stages: Any = model.audio_model.audio_encoder.layers
    return [(number, block) for number, stage in enumerate(stages) for block in stage.blocks]


def prefix_modules(model: ClapModel, split_point: SplitPoint) -> dict[str, list[nn.Module]]:
    """What `audio_prefix` and `text_prefix` run through, under "audio" and "text"."""
    encoder: Any = model.audio_model.audio_encoder
    blocks, layers = audio_blocks(model), model.text_model.encoder.layer
    first = len(blocks) - split_point.audio_blocks  # of the suffix
    audio = [encoder.batch_norm, encoder.patch_embed, *(block for _, block in blocks[:first])]
    audio += [encoder.layers[blocks[index][0]].downsample for index in range(first) if _ends_stage(blocks, index)]
    return {"audio": audio, "text": [model.text_model.embeddings, *layers[: len(layers) - split_point.text_layers]]}


def _ends_stage(blocks: list[tuple[int, nn.Module]], index: int) -> bool:
    """Is this block followed by a downsampling?"""
    return index + 1 < len(blocks) and blocks[index + 1][0] != blocks[index][0]


def audio_prefix(model: ClapModel, split_point: SplitPoint, input_features: Tensor) -> Tensor:
    """Log-mel (B, 1, frames, mels) -> tokens at the split point (B, L, C)."""
    encoder = model.audio_model.audio_encoder
    normalised = encoder.batch_norm(input_features.transpose(1, 3)).transpose(1, 3)
    tokens = encoder.patch_embed(encoder.reshape_mel2img(normalised), None)
    blocks = audio_blocks(model)
    return _run_blocks(model, tokens, 0, len(blocks) - split_point.audio_blocks)


def audio_suffix(model: ClapModel, split_point: SplitPoint, tokens: Tensor) -> Tensor:
    """Tokens at the split point (B, L, C), in any precision -> L2-normalised `audio_embeds` (B, D)."""
    blocks = audio_blocks(model)
    tokens = tokens.to(model.logit_scale_a.dtype)
    tokens = _run_blocks(model, tokens, len(blocks) - split_point.audio_blocks, len(blocks))
    # The encoder's "group 2D CNN" only reorders the tokens before it averages them all.
    pooled = model.audio_model.audio_encoder.norm(tokens).mean(dim=1)
    return nn.functional.normalize(model.audio_projection(pooled), dim=-1)


def _run_blocks(model: ClapModel, tokens: Tensor, start: int, stop: int) -> Tensor:
    encoder: Any = model.audio_model.audio_encoder
    blocks = audio_blocks(model)
    for index in range(start, stop):
        stage, block = blocks[index]
        tokens = block(tokens, encoder.input_resolutions[stage])[0]
        if _ends_stage(blocks, index):
            tokens = encoder.layers[stage].downsample(tokens, encoder.input_resolutions[stage])
    return tokens


def text_prefix(model: ClapModel, split_point: SplitPoint, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Token ids (B, L) -> hidden states at the split point (B, L, H)."""
    layers = model.text_model.encoder.layer
    hidden = model.text_model.embeddings(input_ids=input_ids)
    mask = _text_mask(model, hidden, attention_mask)
    for layer in layers[: len(layers) - split_point.text_layers]:
        hidden = layer(hidden, mask)
    return hidden


def text_suffix(model: ClapModel, split_point: SplitPoint, hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Hidden states at the split point (B, L, H), in any precision -> L2-normalised `text_embeds` (B, D)."""
    layers = model.text_model.encoder.layer
    hidden = hidden.to(model.logit_scale_a.dtype)
    if split_point.text_layers:
        mask = _text_mask(model, hidden, attention_mask)
        for layer in layers[len(layers) - split_point.text_layers : -1]:
            hidden = layer(hidden, mask)
        hidden = _first_token(layers[-1], hidden, mask)
    pooler: Any = model.text_model.pooler
    return nn.functional.normalize(model.text_projection(pooler(hidden)), dim=-1)


def _text_mask(model: ClapModel, hidden: Tensor, attention_mask: Tensor) -> Any:
    return create_bidirectional_mask(
        config=model.text_model.config, inputs_embeds=hidden, attention_mask=attention_mask
    )


def _first_token(layer: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """What a text layer makes of the first token, (B, 1, H): all that the pooler looks at. It attends to every token,
    but only it passes through the layer's larger part."""
    attention, first = layer.attention.self, hidden[:, :1]

    def heads(tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (-1, attention.attention_head_size)).transpose(1, 2)

    attended = nn.functional.scaled_dot_product_attention(
        heads(attention.query(first)),
        heads(attention.key(hidden)),
        heads(attention.value(hidden)),
        attn_mask=None if mask is None else mask[:, :, :1],
        dropout_p=attention.attention_dropout if attention.training else 0.0,
        scale=attention.scaling,
    )
    return layer.feed_forward_chunk(layer.attention.output(attended.transpose(1, 2).flatten(2), first))


def split_forward(
    model: ClapModel,
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
    (`audio_tokens`, `text_hidden`).

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
    assert audio is not None and words is not None
    rows = chunk_rows or len(audio)
    # The chunks are here and not in the trainer's loop, for DDP.
    suffix: Any = partial(checkpoint, use_reentrant=False) if chunk_rows else _call
    audio_embeds, text_embeds = [], []
    for chunk in audio.split(rows):
        tokens = chunk if audio_tokens is not None else audio_prefix(model, split_point, chunk)
        audio_embeds.append(suffix(audio_suffix, model, split_point, tokens))
    for chunk, mask in zip(words.split(rows), attention_mask.split(rows), strict=True):
        hidden = chunk if text_hidden is not None else text_prefix(model, split_point, chunk, mask)
        text_embeds.append(suffix(text_suffix, model, split_point, hidden, mask))
    if also is not None:
        others = split_forward(model, split_point, **also, chunk_rows=chunk_rows)
        audio_embeds.append(others.audio_embeds)
        text_embeds.append(others.text_embeds)
    return ClapOutput(audio_embeds=torch.cat(audio_embeds), text_embeds=torch.cat(text_embeds))


def _call(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    return function(*arguments)


def attach_split_forward(model: ClapModel, split_point: SplitPoint) -> None:
    """Let `model(...)` take prefix outputs too. On the instance, not in a subclass: the model stays a plain
    `ClapModel` for saving, while DDP and peft, which call `forward`, go through the split."""
    model.forward = partial(split_forward, model, split_point)


def frozen(model: ClapModel, split_point: SplitPoint) -> ClapModel:
    """`model`, to be asked and not trained, taking prefix outputs too."""
    attach_split_forward(model.requires_grad_(False), split_point)
    return model


def detach_split_forward(model: ClapModel) -> None:
    """Undo `attach_split_forward`."""
    model.__dict__.pop("forward", None)
