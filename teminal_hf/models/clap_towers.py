"""The towers of a `ClapModel`: HTS-AT's Swin blocks, and RoBERTa's layers."""

from typing import Any

from torch import Tensor, nn
from transformers import ClapModel
from transformers.masking_utils import create_bidirectional_mask

from teminal_hf.models.towers import SplitPoint, first_layers, last_layers


class ClapTowers:
    """`Towers` of a `ClapModel` without fusion. Features are log-mels (B, 1, frames, mels)."""

    def __init__(self, model: ClapModel) -> None:
        self.model = model
        self._encoder: Any = model.audio_model.audio_encoder

    @property
    def audio_layers(self) -> list[nn.Module]:
        """Every Swin block in order, over the stages."""
        return [block for _, block in self._blocks]

    @property
    def text_layers(self) -> list[nn.Module]:
        return list(self.model.text_model.encoder.layer)

    @property
    def audio_side(self) -> tuple[nn.Module, ...]:
        return self.model.audio_model, self.model.audio_projection

    @property
    def projections(self) -> tuple[nn.Module, ...]:
        return self.model.audio_projection, self.model.text_projection

    @property
    def text_pooler(self) -> nn.Module | None:
        return self.model.text_model.pooler

    @property
    def log_scale(self) -> nn.Parameter:
        """Of ClapModel's two log-scales one is trained and the other copied from it: the loss has one temperature."""
        return self.model.logit_scale_a

    @property
    def scale(self) -> Tensor:
        return self.model.logit_scale_a.exp()

    def settle(self) -> None:
        """The second log-scale equals the first."""
        self.model.logit_scale_t.data.copy_(self.model.logit_scale_a.data)

    @property
    def _blocks(self) -> list[tuple[int, nn.Module]]:
        """Every Swin block with the number of its stage."""
        return [(number, block) for number, stage in enumerate(self._encoder.layers) for block in stage.blocks]

    def prefix_modules(self, split_point: SplitPoint) -> dict[str, list[nn.Module]]:
        encoder, blocks = self._encoder, self._blocks
        first = len(blocks) - split_point.audio_blocks  # of the suffix
        audio = [encoder.batch_norm, encoder.patch_embed, *(block for _, block in blocks[:first])]
        audio += [encoder.layers[blocks[index][0]].downsample for index in range(first) if _ends_stage(blocks, index)]
        layers = first_layers(self.text_layers, split_point.text_layers)
        return {"audio": audio, "text": [self.model.text_model.embeddings, *layers]}

    def with_layers(self, split_point: SplitPoint) -> list[nn.Module]:
        encoder, blocks = self._encoder, self._blocks
        inside = range(len(blocks) - split_point.audio_blocks, len(blocks) - 1)
        between = [encoder.layers[blocks[index][0]].downsample for index in inside if _ends_stage(blocks, index)]
        return [*between, encoder.norm] if split_point.audio_blocks else []

    def audio_prefix(self, split_point: SplitPoint, features: Tensor) -> Tensor:
        encoder = self._encoder
        normalised = encoder.batch_norm(features.transpose(1, 3)).transpose(1, 3)
        tokens = encoder.patch_embed(encoder.reshape_mel2img(normalised), None)
        blocks = self._blocks
        return self._run(blocks, tokens, 0, len(blocks) - split_point.audio_blocks)

    def audio_suffix(self, split_point: SplitPoint, tokens: Tensor) -> Tensor:
        blocks = self._blocks
        tokens = tokens.to(self.model.logit_scale_a.dtype)
        tokens = self._run(blocks, tokens, len(blocks) - split_point.audio_blocks, len(blocks))
        # The encoder's "group 2D CNN" only reorders the tokens before it averages them all.
        pooled = self._encoder.norm(tokens).mean(dim=1)
        return nn.functional.normalize(self.model.audio_projection(pooled), dim=-1)

    def _run(self, blocks: list[tuple[int, nn.Module]], tokens: Tensor, start: int, stop: int) -> Tensor:
        encoder = self._encoder
        for index in range(start, stop):
            stage, block = blocks[index]
            tokens = block(tokens, encoder.input_resolutions[stage])[0]
            if _ends_stage(blocks, index):
                tokens = encoder.layers[stage].downsample(tokens, encoder.input_resolutions[stage])
        return tokens

    def text_prefix(self, split_point: SplitPoint, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.model.text_model.embeddings(input_ids=input_ids)
        mask = self._text_mask(hidden, attention_mask)
        for layer in first_layers(self.text_layers, split_point.text_layers):
            hidden = layer(hidden, mask)
        return hidden

    def text_suffix(self, split_point: SplitPoint, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = hidden.to(self.model.logit_scale_a.dtype)
        if split_point.text_layers:
            mask = self._text_mask(hidden, attention_mask)
            *layers, last = last_layers(self.text_layers, split_point.text_layers)
            for layer in layers:
                hidden = layer(hidden, mask)
            hidden = _first_token(last, hidden, mask)
        pooler: Any = self.model.text_model.pooler
        return nn.functional.normalize(self.model.text_projection(pooler(hidden)), dim=-1)

    def _text_mask(self, hidden: Tensor, attention_mask: Tensor) -> Any:
        config = self.model.text_model.config
        return create_bidirectional_mask(config=config, inputs_embeds=hidden, attention_mask=attention_mask)


def _ends_stage(blocks: list[tuple[int, nn.Module]], index: int) -> bool:
    """Is this block followed by a downsampling?"""
    return index + 1 < len(blocks) and blocks[index + 1][0] != blocks[index][0]


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
