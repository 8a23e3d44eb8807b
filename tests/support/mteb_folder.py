"""An export for mteb, and what is in it."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from datasets import Audio, load_dataset

from teminal_hf import ClipTable
from teminal_hf.clips.sources import sound_bank
from teminal_hf.integrations.mteb_export import export

RATE, GROUPS, SEED = 16_000, 12, 3


def bank() -> ClipTable:
    """Two clips a class of the sound bank's test fold."""
    return sound_bank(2).in_folds([4]).usable(RATE)


def write(clips: ClipTable, folder: Path, **changes: Any) -> Path:
    """Export `GROUPS` groups at `RATE`; `changes` go to `export`."""
    keywords = {"source": "the sound bank", "licence": "apache-2.0", "sampling_rate": RATE, "n_groups": GROUPS}
    export(clips, folder, **(keywords | {"seed": SEED} | changes))
    return folder


def read(folder: Path, config: str) -> list[dict[str, Any]]:
    dataset = load_dataset(str(folder), config, split="test")
    return list(dataset.cast_column("audio", Audio(decode=False)) if "audio" in dataset.features else dataset)


def samples(cell: Mapping[str, Any]) -> np.ndarray:
    """Of an audio cell, which must be mono FLAC of 16 bits at `RATE`."""
    info = soundfile.info(io.BytesIO(cell["bytes"]))
    assert (info.format, info.subtype, info.channels, info.samplerate) == ("FLAC", "PCM_16", 1, RATE)
    return soundfile.read(io.BytesIO(cell["bytes"]), dtype="float32")[0]


def questions(folder: Path, subset: str) -> dict[str, tuple[list[str], str]]:
    """Query id -> captions offered, the right one."""
    text = {row["id"]: row["text"] for row in read(folder, f"{subset}-corpus")}
    assert len(set(text.values())) == len(text)
    right = {row["query-id"]: text[row["corpus-id"]] for row in read(folder, f"{subset}-qrels")}
    offered = {row["query-id"]: [text[i] for i in row["corpus-ids"]] for row in read(folder, f"{subset}-top_ranked")}
    return {query: (offered[query], right[query]) for query in right}


def header(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])
