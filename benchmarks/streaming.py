"""Seconds to the first step, and peak memory, of plain pairs in 1,000, 10,000 and 100,000 rows: streamed, and decoded
beforehand.

    python benchmarks/streaming.py

Parquet shards of 1,000 recordings of half a second (8 kHz, WAV), which are one file under many names, so that 100,000
rows take no disk; `clap-mini`, batches of 16 pairs, one worker, 100 steps. The clock starts before the data set is
opened and stops after the first step; the model is loaded before, and a step's own time is alike for all. The other way
decodes and stores every recording first (at most 10,000 here: its time grows with them).
"""

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from harness import MIB, Measured, Results, arguments, in_quiet_environment, measure

RATE, A_SHARD, BATCH = 8_000, 1_000, 16
ROWS, DECODED_ROWS = (1_000, 10_000, 100_000), (1_000, 10_000)


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=3, metavar=("FOLDER", "HOW", "STEPS"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        in_quiet_environment(args.threads)
        print(json.dumps(train(Path(args.child[0]), args.child[1], int(args.child[2]))))
        return
    sizes, decoded, a_shard = ((40,), (40,), 20) if args.smoke else (ROWS, DECODED_ROWS, A_SHARD)
    steps, repeats = (3, 1) if args.smoke else (100, args.repeats)
    found: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for n in sizes:
            write_shards(Path(scratch) / str(n), n, a_shard)
        for _ in range(repeats):
            for n in sizes:
                for how in ("streamed", *(["decoded"] if n in decoded else [])):
                    words = [sys.executable, __file__, "--threads", str(args.threads), "--child"]
                    one = measure([*words, f"{scratch}/{n}", how, str(steps)], args.threads)
                    found.setdefault(f"{n:,} rows, {how}", []).append(one)
    results = Results(args.threads)
    for name, ones in found.items():
        results.add(f"streaming/first step, {name}", [one.report["first_step"] for one in ones], "s")
        peaks = [one.peak / MIB for one in ones if one.peak is not None]
        if peaks:
            results.add(f"streaming/peak memory, {name}", peaks, "MiB")
    if not args.smoke:
        results.save()


def write_shards(folder: Path, n: int, a_shard: int) -> None:
    """`n` rows in shards, all of them links to the first."""
    from datasets import Audio, Dataset

    folder.mkdir()
    rng = np.random.default_rng(0)
    cells = []
    for _ in range(a_shard):
        file = io.BytesIO()
        soundfile.write(file, rng.uniform(-0.3, 0.3, RATE // 2), RATE, format="WAV")
        cells.append({"path": None, "bytes": file.getvalue()})
    columns = {"audio": cells, "text": [f"sound {i}" for i in range(a_shard)]}
    first = folder / "train-00000.parquet"
    Dataset.from_dict(columns).cast_column("audio", Audio(decode=False)).to_parquet(first)
    for shard in range(1, n // a_shard):
        os.link(first, folder / f"train-{shard:05d}.parquet")


def train(folder: Path, how: str, steps: int) -> dict[str, float]:
    """Seconds to the end of the first step, in this process."""
    from transformers import TrainerCallback

    from teminal_hf.clips.recordings import load_rows
    from teminal_hf.clips.streams import open_stream
    from teminal_hf.data.caption_pairs import CaptionPairs, CaptionStream
    from teminal_hf.models.checkpoint import CLAP_MINI, load_checkpoint
    from teminal_hf.models.stages import StagePolicy, apply_stage
    from teminal_hf.training.config import TeminalConfig
    from teminal_hf.training.data_collator import GroupCollator
    from teminal_hf.training.trainer import TeminalTrainer

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    model, processor = load_checkpoint(CLAP_MINI)
    tuned, _ = apply_stage(model, StagePolicy())
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TEMINAL_CACHE"] = os.environ["HF_DATASETS_CACHE"] = scratch
        began = time.perf_counter()
        if how == "streamed":
            stream = open_stream(str(folder), "audio", ["text"])
            pairs: Any = CaptionStream(stream, "text", processor.feature_extractor, buffer=256)
        else:
            rows = load_rows(str(folder), "audio", None).splits["train"]
            pairs = CaptionPairs(rows, "audio", "text", processor.feature_extractor)
        args = TeminalConfig(
            output_dir=scratch,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            save_strategy="no",
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            dataloader_num_workers=1,
            views=["forward"],
        )
        collator = GroupCollator(processor, args.views)
        trainer = TeminalTrainer(tuned, args, data_collator=collator, train_dataset=pairs, callbacks=[Clock()])
        trainer.train()
    return {"first_step": ends[0] - began}


if __name__ == "__main__":
    main()
