"""Tiny random `ClapModel`s (8 kHz, 1 s), groups of tones, and trainers of them: a step takes milliseconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    BertTokenizer,
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapProcessor,
    ClapTextConfig,
)

from teminal_hf.clips.table import ClipTable
from teminal_hf.data.captions import BOTH, SINGLE, caption
from teminal_hf.data.reference import ReferenceRecordings
from teminal_hf.data.rendering import RenderSettings
from teminal_hf.models.embed import ClapEncoder
from teminal_hf.models.stages import StagePolicy, apply_stage, frozen_modules
from teminal_hf.models.towers import SplitPoint
from teminal_hf.training.config import TeminalConfig
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.retention import Reference
from teminal_hf.training.trainer import TeminalTrainer

RATE, SAMPLES = 8_000, 8_000
LABELS = ("dog", "rain", "clock_tick", "wind", "church_bells", "cow")
STAGE_A, STAGE_B = ("single", "double"), ("forward", "reversed", "overlay")
ALL_VIEWS = [*STAGE_B, "single"]
WORDS = ("the", "sound", "of", "and", "before", "after", "while", *" ".join(LABELS).replace("_", " ").split())


def tiny_encoder(**options: Any) -> ClapEncoder:
    """`tiny_clap(**options)` for evaluation."""
    return ClapEncoder(tiny_clap(**options), tiny_processor())


def tiny_processor(mels: int = 16) -> ClapProcessor:
    """A word-level tokenizer of every caption of `groups`, and an extractor of 63 frames."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = BertTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        model_max_length=32,
        model_input_names=["input_ids", "attention_mask"],
    )
    extractor = ClapFeatureExtractor(
        feature_size=mels,
        sampling_rate=RATE,
        hop_length=128,
        max_length_s=1,
        fft_window_size=256,
        frequency_min=50,
        frequency_max=4000,
        truncation="rand_trunc",
        padding="pad",
    )
    return ClapProcessor(feature_extractor=extractor, tokenizer=tokenizer)


def tiny_clap(
    depths: Sequence[int] = (1, 2),
    text_layers: int = 2,
    *,
    mels: int = 16,
    spec: int = 32,
    window: int = 4,
    dropout: float = 0.0,
    fused: bool = False,
    seed: int = 0,
) -> ClapModel:
    """A random model in eval mode, embeddings far from constant, batch-norm statistics far from (0, 1)."""
    n = len(depths)
    audio = ClapAudioConfig(
        spec_size=spec,
        num_mel_bins=mels,
        patch_size=4,
        patch_stride=[4, 4],
        window_size=window,
        patch_embeds_hidden_size=8,
        depths=list(depths),
        num_attention_heads=[2] * n,
        num_hidden_layers=n,
        hidden_size=8 * 2 ** (n - 1),
        enable_fusion=fused,
        fusion_type="aff_2d" if fused else None,
        drop_path_rate=0.0,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        projection_dim=16,
    )
    text = ClapTextConfig(
        vocab_size=5 + len(WORDS),
        hidden_size=16,
        num_hidden_layers=text_layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        projection_dim=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    model = ClapModel(ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=16))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "logit_scale" not in name and "norm" not in name.lower():
                parameter.normal_(std=0.4, generator=generator)
        norm = model.audio_model.audio_encoder.batch_norm
        norm.running_mean.uniform_(-60, -20, generator=generator)
        norm.running_var.uniform_(100, 400, generator=generator)
    return model.eval()


def groups(n: int, views: Sequence[str] = STAGE_B, seed: int = 0) -> list[dict[str, Any]]:
    """Rows as `GroupDataset` gives them: each class is a pitch, under a little noise."""
    rows = []
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        a, b = (LABELS[i] for i in rng.choice(len(LABELS), 2, replace=False))
        one, other = (_tone(label, rng) for label in (a, b))
        half = SAMPLES // 2
        forward, overlay = np.concatenate([one[:half], other[:half]]), (one + other)[: SAMPLES - 100]
        sounds = {"forward": forward, "reversed": np.concatenate([other[:half], one[:half]]), "overlay": overlay}
        words = {
            "single_caption": SINGLE.format(a.replace("_", " ")),
            "double_caption": BOTH.format(a.replace("_", " "), b.replace("_", " ")),
            "forward_caption": caption(str(rng.choice(["before", "after"])), a, b),
            "reversed_caption": caption(str(rng.choice(["before", "after"])), b, a),
            "overlay_caption": caption("while", a, b),
        }
        sounds |= {"single": one, "double": sounds[str(rng.choice(STAGE_B))]}
        audio = {view: {"array": sounds[view], "sampling_rate": RATE} for view in views}
        clips = {"clip_a": f"{a}-0", "clip_b": f"{b}-1"}
        rows.append({"label_a": a, "label_b": b, **clips, **words, **audio})
    return rows


def staged(policy: StagePolicy | None = None) -> nn.Module:
    """A tiny model prepared for a stage."""
    return apply_stage(tiny_clap(), policy or StagePolicy())[0]


def tiny_clips() -> ClipTable:
    """Two clips of each class, half as long as the window."""
    ids = [f"{label}-{i}" for label in LABELS for i in range(2)]
    table = ClipTable(
        tuple(ids),
        tuple(clip.split("-")[0] for clip in ids),
        tuple(1 for _ in ids),
        tuple(range(len(ids))),
        tuple(f"tone of {clip}" for clip in ids),
        lambda row, rate: _tone(LABELS[row // 2], np.random.default_rng(row))[: SAMPLES // 2],
    )
    return table.usable(RATE)


def tiny_reference(
    model: nn.Module, start: ClapModel, split_point: SplitPoint | None = None, **options: Any
) -> Reference:
    """What `start` knows, for a training of `model`."""
    clips, processor = tiny_clips(), tiny_processor()
    settings = RenderSettings.of_extractor(processor.feature_extractor)
    alone, around = ReferenceRecordings.alone(clips, settings), ReferenceRecordings.around(clips, settings, 20)
    labels = [label.replace("_", " ") for label in LABELS]
    point = split_point or StagePolicy().split_point
    return Reference(start, model, point, processor, alone, around, labels, dtype="float32", **options).fill()


def staged_reference() -> Reference:
    """What a tiny model knows, for its own training."""
    model = tiny_clap()
    apply_stage(model, StagePolicy())
    return tiny_reference(model, tiny_clap())


class TinyRows(Sequence[dict[str, Any]]):
    """`groups` as they can be cached; notes which rows were read."""

    def __init__(self, rows: Sequence[dict[str, Any]], recordings_id: str = "tiny") -> None:
        self.rows, self.recordings_id = rows, recordings_id
        self.read: list[int] = []

    @property
    def manifest(self) -> list[dict[str, Any]]:
        return [{name: value for name, value in row.items() if not isinstance(value, dict)} for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        self.read.append(index)
        return self.rows[index]


def _tone(label: str, rng: np.random.Generator) -> np.ndarray:
    pitch = 200 * 1.6 ** LABELS.index(label)
    wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(SAMPLES) / RATE + rng.uniform(0, 6))
    return (wave + 0.02 * rng.standard_normal(SAMPLES)).astype(np.float32)


def embeddings(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Audio and text embeddings of a collated batch by ClapModel's own methods, independent of the split."""
    with torch.no_grad():
        audio = model.get_audio_features(input_features=batch["input_features"]).pooler_output
        text = model.get_text_features(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).pooler_output
    return audio, text


def config(folder: Path, **options: Any) -> TeminalConfig:
    defaults: dict[str, Any] = {
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "per_device_train_batch_size": 4,
        "max_steps": 3,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "seed": 1,
    }
    return TeminalConfig(output_dir=str(folder), **(defaults | options))


def trainer(
    folder: Path, n_groups: int = 8, *, dropout: float = 0.0, tuning: Any = "full", **options: Any
) -> TeminalTrainer:
    """A trainer of a fresh tiny model; `options` are the config's or the trainer's."""
    own = {
        k: options.pop(k)
        for k in ("zste", "reference", "callbacks", "eval_dataset", "train_dataset", "processing_class")
        if k in options
    }
    args = config(folder, **options)
    model, _ = apply_stage(tiny_clap(dropout=dropout), StagePolicy(tuning=tuning))
    if args.retention or args.mixture:
        own.setdefault("reference", tiny_reference(model, tiny_clap()))
    collator = GroupCollator.of(tiny_processor(), args)
    rows = own.pop("train_dataset") if "train_dataset" in own else groups(n_groups, args.views)
    return TeminalTrainer(model, args, data_collator=collator, train_dataset=rows, **own)


def train_mode(model: nn.Module) -> None:
    """The modes that the trainer's steps are taken in."""
    model.train()
    for module in frozen_modules(model):
        module.training = False


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_equal(ours: dict[str, Tensor], truth: dict[str, Tensor]) -> None:
    assert ours.keys() == truth.keys()
    for name in truth:
        assert torch.equal(ours[name], truth[name]), name
