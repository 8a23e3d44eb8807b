"""Tiny random PE-Audio models and their processor."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    BertTokenizer,
    PeAudioConfig,
    PeAudioFeatureExtractor,
    PeAudioModel,
    PeAudioProcessor,
    PeAudioVideoConfig,
)

from support.tiny import WORDS

_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
_TEXT = {
    "model_type": "modernbert",
    "vocab_size": len(_TOKENS),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "cls_token_id": 2,
    "sep_token_id": 3,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
_AUDIO = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "dac_config": {
        "model_type": "dac",
        "downsampling_ratios": [2, 8, 10, 12],
        "encoder_hidden_size": 4,
        "codebook_dim": 8,
    },
}


def pe_audio(seed: int = 0) -> PeAudioModel:
    """In eval mode; its weights are large enough for what it hears to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = PeAudioModel(PeAudioConfig(text_config=_TEXT, audio_config=_AUDIO)).eval()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.ndim > 1 and "alpha" not in name:
                    torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    return model


def pe_processor(sampling_rate: int = 48_000) -> PeAudioProcessor:
    tokenizer = BertTokenizer(
        vocab={token: i for i, token in enumerate(_TOKENS)}, model_input_names=["input_ids", "attention_mask"]
    )
    return PeAudioProcessor(PeAudioFeatureExtractor(sampling_rate=sampling_rate), tokenizer)


def save_audio_video(model: PeAudioModel, folder: Path) -> None:
    """A PE-Audio-Video checkpoint of which `model` is the audio part, as transformers names its tensors: the text model
    once, at the top. (The whole model cannot be made without timm.)"""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    PeAudioVideoConfig(text_config=_TEXT, audio_video_config=sizes | {"audio_config": _AUDIO}).save_pretrained(folder)
    tensors = {
        name if name.startswith("text_model.") else f"audio_model.{name}": tensor.clone()
        for name, tensor in model.state_dict().items()
    }
    tensors["video_model.video_head.proj.weight"] = torch.zeros(2, 2)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    pe_processor().save_pretrained(folder)
