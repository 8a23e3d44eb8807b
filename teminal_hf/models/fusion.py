"""Fused CLAP checkpoints, opened as the unfused ones that they are to recordings within their window."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import ClapModel

from teminal_hf.errors import CheckpointError

_LAYERS = ("fusion_model", "mel_conv2d")  # of the patch embedding: they see crops of longer recordings alone
_KEPT = "fusion_tensors"


def without_fusion(model: ClapModel, name: str) -> ClapModel:
    """The model, its fusion layers taken out and kept aside for `with_fusion`; one that has none stays as it is.

    What is left gives the same embeddings to the last bit as the fused model with `is_longer=False`.

    Raises:
        CheckpointError: the fusion "channel_map", where every recording passes through the fused layers; `name` is the
            checkpoint's. (What transformers makes of any other name, or of none, as laion/clap-htsat-fused has, is
            "aff_2d".)
    """
    config: Any = model.config.audio_config
    if not config.enable_fusion:
        return model
    if config.fusion_type == "channel_map":
        raise CheckpointError(
            f"{name} is fused by 'channel_map', where every recording passes through the fusion; other fused "
            "checkpoints, such as laion/clap-htsat-fused, can be opened, and unfused ones"
        )
    encoder: Any = model.audio_model.audio_encoder
    prefix = "audio_model.audio_encoder.patch_embed."
    kept = {
        key: tensor.clone()
        for key, tensor in model.state_dict().items()
        if key.removeprefix(prefix).startswith(_LAYERS)
    }
    for layer in _LAYERS:
        delattr(encoder.patch_embed, layer)
    config.enable_fusion = encoder.enable_fusion = encoder.patch_embed.enable_fusion = False
    setattr(model, _KEPT, kept)
    return model


@contextmanager
def with_fusion(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The tensors to save, those that `without_fusion` kept among them; meanwhile the configuration says so too."""
    kept: dict[str, Tensor] = getattr(model, _KEPT, {})
    config: Any = model.config
    if kept:
        config.audio_config.enable_fusion = True
    try:
        yield {**model.state_dict(), **kept}
    finally:
        if kept:
            config.audio_config.enable_fusion = False
