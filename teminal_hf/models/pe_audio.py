"""PE-Audio and the audio part of PE-Audio-Video as encoders.

Of transformers 5.23 not used, for it fails or misleads: `get_text_audio_embeds` (asks for hidden states that it did
not order), the audio-video model's method of that name (calls one that is not there), `return_loss` (labels of 0 and 1
where the sigmoid loss wants -1 and 1, so that negatives get no gradient), and the frame-level loss (wrong shape).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PeAudioFeatureExtractor, PeAudioModel, PeAudioProcessor

from teminal_hf.audio.waveform import Waveform
from teminal_hf.errors import CheckpointError

MODEL_TYPES = ("pe_audio", "pe_audio_video")
AT_ONCE = 8  # recordings, and eight times as many captions


class PeAudioEncoder:
    """A `PeAudioModel`, or the `audio_model` of a `PeAudioVideoModel`, as an `Encoder` that hears recordings of any
    length whole: they are neither repeated nor cropped.

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
            for start in range(0, len(rows), AT_ONCE):
                chunk = rows[start : start + AT_ONCE]
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
        for start in range(0, len(captions), 8 * AT_ONCE):
            chunk = list(captions[start : start + 8 * AT_ONCE])
            tokens = self.processor.tokenizer(chunk, padding=True, truncation=True, max_length=512, return_tensors="pt")
            ids, mask = (tokens[name].to(model.device) for name in ("input_ids", "attention_mask"))
            hidden = model.text_model(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
            embeds.append(model.text_audio_head(hidden).float().cpu().numpy())
        return np.concatenate(embeds)


def load_pe_audio(path: str) -> PeAudioEncoder:
    """The model in float32, from a folder or a Hub id, safetensors only. Of a PE-Audio-Video checkpoint the audio model
    alone, which needs neither the rest of the weights nor timm.

    Raises:
        CheckpointError: weights are missing, and would be random.
    """
    config = AutoConfig.from_pretrained(path)
    loaded: Any = PeAudioModel.from_pretrained(
        path,
        config=config if config.model_type == "pe_audio" else config.audio_config,
        key_mapping={r"^audio_model\.": ""},
        use_safetensors=True,
        dtype="float32",
        output_loading_info=True,
    )
    model, loading = loaded
    if missing := sorted(loading["missing_keys"]):
        raise CheckpointError(
            f"{path} is not whole: {len(missing)} weight tensor(s) are missing, and would be random: "
            f"{', '.join(missing[:3])}; take it from its source again"
        )
    extractor = PeAudioFeatureExtractor.from_pretrained(path)
    return PeAudioEncoder(model, PeAudioProcessor(extractor, AutoTokenizer.from_pretrained(path)))
