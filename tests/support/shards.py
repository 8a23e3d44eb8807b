"""Shards of recordings and captions, as parquet or tar (webdataset) files: row i says its number, and sounds it."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile
from datasets import Audio, Dataset

from support.clips import tone

RATE = 8_000


def sound(number: int) -> bytes:
    """A WAV file; its pitch is the row's own."""
    file = io.BytesIO()
    soundfile.write(file, tone(300 + 20 * number, 0.4, RATE), RATE, format="WAV")
    return file.getvalue()


def write_parquet(folder: Path, sizes: Sequence[int], bad: Sequence[int] = ()) -> Path:
    """A shard of each of `sizes`: columns `id`, `audio`, `text`; rows of `bad` numbers hold no sound."""
    folder.mkdir(exist_ok=True)
    first = 0
    for shard, size in enumerate(sizes):
        numbers = range(first, first + size)
        cells = [{"path": None, "bytes": b"no sound" if n in bad else sound(n)} for n in numbers]
        columns = {"id": [f"row {n}" for n in numbers], "audio": cells, "text": [str(n) for n in numbers]}
        rows = Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))
        rows.to_parquet(folder / f"train-{shard:05d}-of-{len(sizes):05d}.parquet")
        first += size
    return folder


def write_tars(folder: Path, sizes: Sequence[int], texts: Sequence[Any] | None = None) -> Path:
    """A tar of each of `sizes`: members `N.wav` and `N.json`, `{"text": [a caption, another]}` or what `texts` say."""
    folder.mkdir(exist_ok=True)
    numbers = iter(range(sum(sizes)))
    for shard, size in enumerate(sizes):
        with tarfile.open(folder / f"train-{shard:05d}.tar", "w") as tar:
            for n in (next(numbers) for _ in range(size)):
                said = json.dumps({"text": texts[n] if texts else [str(n), f"{n} again"]}).encode()
                for name, content in ((f"{n:04d}.wav", sound(n)), (f"{n:04d}.json", said)):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return folder
