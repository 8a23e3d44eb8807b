"""What a fine-tuning on a user's own pairs keeps of what was known, asked by transformers' own model."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import ClapModel

from support.clips import tone
from support.recipes import run_recipe
from teminal_hf.clips.sources import sound_bank
from teminal_hf.models.checkpoint import load_checkpoint
from teminal_hf.models.embed import embed_audio

HARD = ["--per_device_train_batch_size", "8", "--num_train_epochs", "10", "--learning_rate", "5e-4"]
LOST, KEPT = ["--retention", "0"], ["--retention", "20", "--reference_size", "60"]


def own_pairs(folder: Path) -> str:
    """Noise, said to be anything."""
    rng = np.random.default_rng(0)
    audio = [
        {"array": (0.1 * rng.standard_normal(16_000)).astype(np.float32), "sampling_rate": 16_000} for _ in range(16)
    ]
    words = [f"an invented {rng.integers(1000)}" for _ in audio]
    Dataset.from_dict({"audio": audio, "text": words}).to_parquet(folder / "own" / "train.parquet")
    return str(folder / "own")


def write_sounds(folder: Path) -> Path:
    """Tones, for the reference set."""
    folder.mkdir()
    for pitch in range(300, 3000, 300):
        soundfile.write(folder / f"{pitch}.wav", 0.5 * tone(pitch, 1.0, 16_000), 16_000)
    return folder


def moved(folder: Path) -> float:
    """1 - mean cosine of clips that were not trained on, to what clap-mini makes of them."""
    clips = sound_bank(1).in_folds([4])
    models = [load_checkpoint(str(each)) for each in ("clap-mini", folder)]
    extractor = models[0][1].feature_extractor
    sounds = [clips.waveform(clip, extractor.sampling_rate)[: extractor.nb_max_samples] for clip in clips.ids]
    before, after = (embed_audio(*model, sounds) for model in models)
    return 1 - (before * after).sum(dim=-1).mean().item()


def test_less_is_lost_and_the_cache_changes_nothing(tmp_path: Path) -> None:
    arguments = ["--source", own_pairs(tmp_path), *HARD, "--cache_dtype", "float32"]
    for name, more in {"lost": LOST, "kept": KEPT, "recomputed": [*KEPT, "--cache_prefix", "false"]}.items():
        run_recipe("plain_pairs", *arguments, *more, "--output_dir", str(tmp_path / name))
    assert moved(tmp_path / "kept") < 0.5 * moved(tmp_path / "lost")
    kept, recomputed = (load_file(tmp_path / name / "model.safetensors") for name in ("kept", "recomputed"))
    assert all(torch.allclose(kept[name], recomputed[name], atol=1e-4) for name in kept)
    assert isinstance(ClapModel.from_pretrained(tmp_path / "kept"), ClapModel)


def test_of_a_stream_too_by_any_recordings(tmp_path: Path) -> None:
    arguments = ["--source", own_pairs(tmp_path), "--streaming", *HARD]
    others = ["--reference", str(write_sounds(tmp_path / "others"))]
    for name, more in {"lost": LOST, "kept": KEPT, "by others": [*KEPT, *others]}.items():
        run_recipe("plain_pairs", *arguments, *more, "--output_dir", str(tmp_path / name))
    lost, kept, by_others = (moved(tmp_path / name) for name in ("lost", "kept", "by others"))
    assert kept < 0.5 * lost and kept != by_others < lost
