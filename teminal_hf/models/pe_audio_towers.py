"""The towers of a `PeAudioModel`: a plain transformer over the frames of a codec, and ModernBERT's layers."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import ModernBertModel, PeAudioModel
from transformers.masking_utils import create_bidirectional_mask, create_bidirectional_sliding_window_mask

from teminal_hf.errors import CheckpointError
from teminal_hf.models.towers import SplitPoint, first_layers, last_layers

COSINE_SCALE = 1 / 0.07  # CLIP's and CLAP's at the start (arXiv 2103.00020, section 2.5)


class PeAudioTowers:
    """`Towers` of a `PeAudioModel`. Features are waveforms (B, 1, samples), whole frames of them, without padding.

    The model's own scale and bias are those of a sigmoid loss over dot products, and stay as they are: what is trained
    here is the cosine, as it is asked for, at a scale that is fixed.

    Raises:
        CheckpointError: a text tower other than ModernBERT's.
    """

    def __init__(self, model: PeAudioModel) -> None:
        self.model = model
        self._audio: Any = model.audio_encoder
        self._text: Any = model.text_model
        if not isinstance(self._text, ModernBertModel):
            raise CheckpointError(
                f"this PE-Audio model reads captions by {type(self._text).__name__}; only ModernBertModel, which all "
                "published ones have, can be post-trained"
            )

    @property
    def audio_layers(self) -> list[nn.Module]:
        return list(self._audio.layers)

    @property
    def text_layers(self) -> list[nn.Module]:
        return list(self._text.layers)

    @property
    def audio_side(self) -> tuple[nn.Module, ...]:
        return self._audio, self.model.audio_head

    @property
    def projections(self) -> tuple[nn.Module, ...]:
        return self.model.audio_head, self.model.text_audio_head

    @property
    def text_pooler(self) -> None:
        return None

    @property
    def log_scale(self) -> None:
        return None

    @property
    def scale(self) -> Tensor:
        return torch.tensor(COSINE_SCALE, device=self.model.device)

    def settle(self) -> None:
        pass

    def prefix_modules(self, split_point: SplitPoint) -> dict[str, list[nn.Module]]:
        audio = first_layers(self.audio_layers, split_point.audio_blocks)
        text = first_layers(self.text_layers, split_point.text_layers)
        return {
            "audio": [self._audio.embedder, self._audio.patch_embedder, *audio],
            "text": [self._text.embeddings, *text],
        }

    def with_layers(self, split_point: SplitPoint) -> list[nn.Module]:
        audio = [self._audio.norm, self._audio.output] if split_point.audio_blocks else []
        return [*audio, self._text.final_norm] if split_point.text_layers else audio

    def audio_prefix(self, split_point: SplitPoint, features: Tensor) -> Tensor:
        frames, _ = self._audio.embedder(features)
        tokens, _ = self._audio.patch_embedder(frames)
        return self._run_audio(first_layers(self.audio_layers, split_point.audio_blocks), tokens)

    def audio_suffix(self, split_point: SplitPoint, tokens: Tensor) -> Tensor:
        tokens = tokens.to(self.model.dtype)
        tokens = self._run_audio(last_layers(self.audio_layers, split_point.audio_blocks), tokens)
        pooled = self._audio.output(self._audio.norm(tokens[:, 0]))
        return nn.functional.normalize(self.model.audio_head(pooled), dim=-1)

    def _run_audio(self, layers: list[nn.Module], tokens: Tensor) -> Tensor:
        positions = self._audio.rotary_emb(tokens, _numbered(tokens))
        for layer in layers:
            tokens = layer(tokens, position_embeddings=positions)
        return tokens

    def text_prefix(self, split_point: SplitPoint, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self._text.embeddings(input_ids=input_ids)
        layers = first_layers(self.text_layers, split_point.text_layers)
        return self._run_text(layers, hidden, attention_mask)

    def text_suffix(self, split_point: SplitPoint, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = hidden.to(self.model.dtype)
        layers = last_layers(self.text_layers, split_point.text_layers)
        first = self._text.final_norm(self._run_text(layers, hidden, attention_mask)[:, 0])
        return nn.functional.normalize(self.model.text_audio_head(first), dim=-1)

    def _run_text(self, layers: list[nn.Module], hidden: Tensor, attention_mask: Tensor) -> Tensor:
        config = self._text.config
        asked = {"config": config, "inputs_embeds": hidden, "attention_mask": attention_mask}
        masks = {
            "full_attention": create_bidirectional_mask(**asked),
            "sliding_attention": create_bidirectional_sliding_window_mask(**asked),
        }
        numbers = _numbered(hidden)
        positions = {kind: self._text.rotary_emb(hidden, numbers, kind) for kind in set(config.layer_types)}
        for layer in layers:
            kind: Any = layer.attention_type
            hidden = layer(hidden, attention_mask=masks[kind], position_embeddings=positions[kind])
        return hidden


def _numbered(tokens: Tensor) -> Tensor:
    """Positions of tokens (B, L, C): (1, L)."""
    return torch.arange(tokens.shape[1], device=tokens.device)[None]
