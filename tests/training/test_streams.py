"""Training on a stream: each row once a pass, batches of one size, going on bit by bit, bad rows counted.

Run as a script, under `python -m torch.distributed.run`, this file is one of the ranks.
"""

import itertools
import json
import logging
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy

from support.paths import ROOT, TESTS
from support.shards import write_parquet, write_tars
from support.tiny import groups, tiny_clap, tiny_processor
from teminal_hf.clips.streams import open_stream
from teminal_hf.commands.door import door
from teminal_hf.data.caption_pairs import CaptionStream
from teminal_hf.errors import BadClipError, ConfigError, DataError
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.training import streams
from teminal_hf.training.config import TeminalConfig
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.streams import Place, StreamLoader
from teminal_hf.training.trainer import TeminalTrainer


class Noting(TeminalTrainer):
    """Notes the captions of what counts in each step, and the loss."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heard: list[list[int]] = []
        self.losses: list[float] = []

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        rows = inputs.get("pairs", inputs)
        count = rows["counts"][self.args.process_index] if "counts" in rows else len(rows["meanings"])
        self.heard.append([_HEARD[key] for key in rows["meanings"][:count, 0].tolist()])
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        self.losses.append(float(loss.detach()))
        return loss


def _known() -> dict[int, int]:
    collator = GroupCollator(tiny_processor(), ["forward"])
    rows = [{"forward_caption": str(n)} for n in range(200)]
    return {key: n for n, key in enumerate(collator.meanings(rows)[:, 0].tolist())}


_HEARD = _known()


def pairs_of(folder: Path, buffer: int = 4) -> CaptionStream:
    return CaptionStream(
        open_stream(str(folder), "audio", ["text"]), "text", tiny_processor().feature_extractor, 3, buffer
    )


def arguments(folder: Path, **options: Any) -> TeminalConfig:
    settings: dict[str, Any] = {
        "output_dir": str(folder), "report_to": "none", "use_cpu": True, "disable_tqdm": True, "max_steps": 8,
        "per_device_train_batch_size": 4, "save_strategy": "no", "optim": "sgd", "learning_rate": 0.02,
        "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "seed": 3, "views": ["forward"],
    }  # fmt: skip
    return TeminalConfig(**(settings | options))


def trainer_of(pairs: CaptionStream, args: TeminalConfig, mixed: bool = False) -> Noting:
    """On a stream, or (`mixed`) on groups with a stream beside them."""
    model, _ = apply_stage(tiny_clap(), StagePolicy())
    rows: Any = groups(12, args.views) if mixed else pairs
    options: dict[str, Any] = (
        {"pairs": pairs, "pairs_workers": args.dataloader_num_workers, "processing_class": tiny_processor()}
        if mixed
        else {}
    )
    return Noting(model, args, data_collator=GroupCollator(tiny_processor(), args.views), train_dataset=rows, **options)


def batches(pairs: CaptionStream, args: TeminalConfig, n: int) -> list[dict[str, Any]]:
    workers = args.dataloader_num_workers
    loader = StreamLoader(
        pairs, GroupCollator(tiny_processor(), ["forward"]), args, workers, Place.start(pairs, args, workers)
    )
    return list(itertools.islice(loader, n))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_rows_and_silence_fills_the_last(tmp_path: Path, workers: int) -> None:
    pairs = pairs_of(write_parquet(tmp_path / "shards", [5, 5]), buffer=0)
    readers = max(1, workers)
    shares = [list(pairs.share(reader, readers, passing=0)) for reader in range(readers)]
    in_turn = [row for rows in itertools.zip_longest(*shares) for row in rows if row is not None]
    found = batches(pairs, arguments(tmp_path / "run", dataloader_num_workers=workers), 4)
    collator = GroupCollator(tiny_processor(), ["forward"])
    assert [batch.get("counts") for batch in found] == [None, None, [2], None]
    for batch, start in zip(found, (0, 4, 8, 0), strict=True):
        truth = collator(in_turn[start : start + 4])
        count = len(truth["meanings"])
        assert len(batch["input_features"]) == 4
        torch.testing.assert_close(batch["input_features"][:count], truth["input_features"], rtol=0, atol=1e-4)
        assert torch.equal(batch["meanings"][:count], truth["meanings"])
        assert torch.equal(batch["input_ids"][:count], truth["input_ids"])


def test_what_fills_a_batch_up_has_no_part_in_loss_and_gradients(tmp_path: Path) -> None:
    pairs = pairs_of(write_parquet(tmp_path / "shards", [3]), buffer=0)
    args = arguments(tmp_path / "run")
    trainer = trainer_of(pairs, args)
    (filled,) = batches(pairs, args, 1)
    rows = [row for row in pairs.share(0, 1, passing=0) if not isinstance(row, BadClipError)]
    alone = GroupCollator(tiny_processor(), ["forward"])(rows)
    found = []
    for batch in (filled, alone):
        trainer.model.zero_grad()
        loss = trainer.compute_loss(trainer.model.train(), batch)
        loss.backward()
        found.append((loss.detach(), {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}))
    assert filled["counts"] == [3] and found[0][1]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("workers", "saved"), [(0, 2), (2, 4), (3, 3)])
def test_a_training_goes_on_bit_by_bit_in_the_middle_of_a_pass(tmp_path: Path, workers: int, saved: int) -> None:
    """Passes of three steps, the last of them filled up; shards end at different times."""
    pairs = pairs_of(write_parquet(tmp_path / "shards", [1, 6, 2] if workers == 3 else [4, 6]))
    options = {"dataloader_num_workers": workers, "save_strategy": "steps", "save_steps": saved}
    whole = trainer_of(pairs, arguments(tmp_path / "run", **options))
    whole.train()
    again = trainer_of(pairs, arguments(tmp_path / "run", **options))
    again.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{saved}"))
    assert again.heard == whole.heard[saved:] and again.losses == whole.losses[saved:]
    expected, found = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_gradient_accumulation_takes_as_many_batches(tmp_path: Path) -> None:
    pairs = pairs_of(write_parquet(tmp_path / "shards", [8]))
    trainer = trainer_of(pairs, arguments(tmp_path / "run", max_steps=2, gradient_accumulation_steps=2))
    trainer.train()
    passes = [sorted(itertools.chain(*trainer.heard[start : start + 2])) for start in (0, 2)]
    assert passes == [list(range(8))] * 2 and trainer.state.global_step == 2


def test_no_random_number_of_the_process_is_drawn(tmp_path: Path) -> None:
    pairs = pairs_of(write_parquet(tmp_path / "shards", [8]))
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    batches(pairs, arguments(tmp_path / "run", dataloader_num_workers=1), 3)
    assert torch.equal(torch.rand(3), expected)


def test_another_number_of_readers_or_rows_is_refused(tmp_path: Path) -> None:
    pairs = pairs_of(write_parquet(tmp_path / "shards", [8]))
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2}
    trainer_of(pairs, arguments(tmp_path / "run", **options)).train()
    checkpoint = tmp_path / "run" / "checkpoint-2"
    other = trainer_of(pairs, arguments(tmp_path / "run", dataloader_num_workers=2, **options))
    with pytest.raises(ConfigError, match=r"was trained with 1 readers \(processes x .*\), and this run has 2: rows"):
        other.train(resume_from_checkpoint=str(checkpoint))
    (checkpoint / "stream_0.json").unlink()
    with pytest.raises(ConfigError, match="has no place in a stream for process 0: it was not trained on a stream"):
        trainer_of(pairs, arguments(tmp_path / "run", **options)).train(resume_from_checkpoint=str(checkpoint))


def test_a_worker_in_the_place_of_none_is_refused(tmp_path: Path) -> None:
    """One reader each, and in a worker `datasets` shuffles otherwise."""
    pairs, args = pairs_of(write_parquet(tmp_path / "shards", [8])), arguments(tmp_path / "run")
    Place.start(pairs, args, 0).save(tmp_path)
    with pytest.raises(ConfigError, match="was trained with 0 dataloader_num_workers, and this run has 1"):
        Place.start(pairs, args, 1).found(tmp_path)


def test_another_order_is_refused(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "shards", [4, 4])
    pairs, args = pairs_of(folder), arguments(tmp_path / "run")
    Place.start(pairs, args, 0).save(tmp_path)
    assert Place.start(pairs, args, 0).found(tmp_path) == Place.start(pairs, args, 0)
    fewer = pairs_of(write_parquet(tmp_path / "fewer", [8]))
    for other, message in (
        (replace(pairs, buffer=0), "was trained with 4 shuffle_buffer, and this run has 0"),
        (replace(pairs, seed=4), "was trained with 3 seed, and this run has 4"),
        (fewer, "was trained with 2 shards, and this run has 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            Place.start(other, args, 0).found(tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_rows_are_left_out_counted_and_named(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = pairs_of(write_parquet(tmp_path / "shards", [20, 20], bad=[11]))
    trainer = trainer_of(pairs, arguments(tmp_path / "run", max_steps=10, dataloader_num_workers=workers))
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert sorted(itertools.chain(*trainer.heard)) == [n for n in range(40) if n != 11]
    said = [record.getMessage() for record in caplog.records]
    assert sum(text.startswith("left out: pair 'row 11' ") for text in said) == 1
    assert "1 of 40 rows that were read of the stream were left out" in said
    too_many = pairs_of(write_parquet(tmp_path / "bad", [10, 10], bad=[3, 4]))
    with pytest.raises(DataError, match=r"2 of 20 rows of the stream cannot be used \(at most 5% are tolerated\); the"):
        trainer_of(too_many, arguments(tmp_path / "other", dataloader_num_workers=workers)).train()


def test_bad_rows_are_judged_before_all_are_read_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = arguments(tmp_path / "run", max_steps=2)
    late = pairs_of(write_parquet(tmp_path / "late", [40], bad=[1]), buffer=0)
    with pytest.raises(DataError, match=r"1 of 9 rows of the stream cannot be used .* the first: pair 'row 1' "):
        trainer_of(late, args).train()
    monkeypatch.setattr(streams, "_JUDGED_FROM", 10)
    alone = pairs_of(write_parquet(tmp_path / "alone", [40], bad=range(40)), buffer=0)
    with pytest.raises(DataError, match=r"10 of 10 rows of the stream cannot be used"):
        batches(alone, args, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_without_rows_to_train_on_is_said(tmp_path: Path, workers: int) -> None:
    rows = {"audio": ["a.wav"] * 2, "text": ["0", "1"], "split": ["test", "dev"]}
    Dataset.from_dict(rows).to_parquet(tmp_path / "train.parquet")
    pairs = pairs_of(tmp_path)
    with pytest.raises(DataError, match="has no rows beside those that its column 'split' names for validation or"):
        batches(pairs, arguments(tmp_path / "run", dataloader_num_workers=workers), 1)
    assert not multiprocessing.active_children()


def test_a_batch_of_bad_rows_alone_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_JUDGED_FROM", 10)
    monkeypatch.setattr(streams, "MAX_BAD_SHARE", 1.0)
    pairs = pairs_of(write_parquet(tmp_path / "shards", [30], bad=range(25)), buffer=0)
    found = batches(pairs, arguments(tmp_path / "run"), 2)
    collator = GroupCollator(tiny_processor(), ["forward"])
    truth = collator.meanings([{"forward_caption": str(n)} for n in range(25, 30)])
    assert torch.equal(torch.cat([found[0]["meanings"], found[1]["meanings"][:1]]), truth)
    assert [batch.get("counts") for batch in found] == [None, [1]]


def test_what_ends_a_reader_comes_as_it_was_raised(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "shards", [8])
    pairs = CaptionStream(open_stream(str(folder), "audio", ["audio"]), "audio", tiny_processor().feature_extractor)
    with pytest.raises(DataError) as caught:
        batches(pairs, arguments(tmp_path / "run", dataloader_num_workers=1), 1)
    assert str(caught.value) == "column 'audio' must hold captions; row row 0 holds a dict. Name yours by --text_column"


def test_lists_of_captions_are_said_by_turns(tmp_path: Path) -> None:
    folder = write_tars(tmp_path / "tars", [4])
    extractor = tiny_processor().feature_extractor
    pairs = CaptionStream(open_stream(str(folder), "wav", ["json.text"]), "json.text", extractor)
    said = [[row["forward_caption"] for row in pairs.share(0, 1, passing=p)] for p in (0, 1, 2)]  # type: ignore[index]
    also = [row["forward_also"] for row in pairs.share(0, 1, passing=0)]  # type: ignore[index]
    assert said[0] == said[2] and also == [[caption] for caption in said[1]]
    assert all({one, other} == {str(n), f"{n} again"} for n, (one, other) in enumerate(zip(*said[:2], strict=True)))


def test_pairs_beside_groups_are_contrasted_among_themselves(tmp_path: Path) -> None:
    """Against the model's own embeddings; the last batch of a pass, of three pairs that count."""
    pairs = pairs_of(write_parquet(tmp_path / "shards", [3]), buffer=0)
    args = arguments(tmp_path / "run", views=["forward", "reversed"], pairs_weight=0.7)
    trainer = trainer_of(pairs, args, mixed=True)
    collator = GroupCollator(tiny_processor(), args.views)
    beside = collator(groups(4, args.views))
    rows = [row for row in pairs.share(0, 1, passing=0) if not isinstance(row, BadClipError)]
    alone = GroupCollator(tiny_processor(), ["forward"])(rows)
    (streamed,) = batches(pairs, args, 1)
    with torch.no_grad():
        model = trainer.model.eval()
        whole = TeminalTrainer.compute_loss(trainer, model, dict(beside))
        out = tiny_clap()(**{name: alone[name] for name in ("input_features", "input_ids", "attention_mask")})
        logits = out.logits_per_audio
        truth = (cross_entropy(logits, torch.arange(3)) + cross_entropy(logits.T, torch.arange(3))) / 2
        found = TeminalTrainer.compute_loss(trainer, model, dict(beside) | {"pairs": streamed})
    torch.testing.assert_close(found, whole + 0.7 * truth, rtol=1e-4, atol=1e-5)


def test_pairs_beside_groups_go_on_bit_by_bit(tmp_path: Path) -> None:
    pairs = pairs_of(write_parquet(tmp_path / "shards", [5, 6]))
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 5, "views": ["forward", "reversed"]}
    options |= {"max_steps": -1, "num_train_epochs": 3}
    whole, again = (trainer_of(pairs, arguments(tmp_path / "run", **options), mixed=True) for _ in range(2))
    whole.train()
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-5"))
    assert sorted(itertools.chain(*whole.heard[:3])) == list(range(11)) and len(whole.heard) == 9
    assert again.heard == whole.heard[5:] and again.losses == whole.losses[5:]
    expected, found = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_reader_is_one_worker_for_all_passes(tmp_path: Path) -> None:
    pairs, args = pairs_of(write_parquet(tmp_path / "shards", [4, 4])), arguments(tmp_path / "run")
    place = Place.start(pairs, args, 2)
    loader = iter(StreamLoader(pairs, GroupCollator(tiny_processor(), ["forward"]), args, 2, place))
    before = set(multiprocessing.active_children())
    workers = []
    for _ in range(6):
        next(loader)
        workers.append({child.pid for child in set(multiprocessing.active_children()) - before})
    loader.close()
    assert place.passed == 2 and len(workers[0]) == 2 and all(pids == workers[0] for pids in workers)


def test_workers_end_with_the_training(tmp_path: Path) -> None:
    pairs = pairs_of(write_parquet(tmp_path / "shards", [5, 6]))
    trainer = trainer_of(pairs, arguments(tmp_path / "run", dataloader_num_workers=2, max_steps=2), mixed=True)
    trainer.train()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("processes", "kind"), [(2, "alone"), (4, "alone"), (2, "mixed")])
def test_ranks_with_two_workers_hear_each_row_once_and_go_on(tmp_path: Path, processes: int, kind: str) -> None:
    """Shards of different sizes, so that ranks run out at different times; the second launch goes on in the middle."""
    folder = write_parquet(tmp_path / "shards", [3, 9, 1, 6, 2, 8, 4, 7])
    first = launch(tmp_path, folder, processes, kind)
    again = launch(tmp_path, folder, processes, kind, "resume")
    n_steps = len(first[0]["heard"])
    assert all(len(rank["heard"]) == n_steps for rank in first)
    first_pass: list[int] = []
    for step in range(n_steps):
        first_pass += itertools.chain(*(rank["heard"][step] for rank in first))
        if len(first_pass) >= 40:
            break
    assert sorted(first_pass) == list(range(40))
    for before, after in zip(first, again, strict=True):
        assert after["heard"] == before["heard"][3:]
        assert after["weights"] == pytest.approx(first[0]["weights"], rel=1e-7)  # gloo adds up in any order


def launch(tmp_path: Path, folder: Path, processes: int, *flags: str) -> list[dict[str, Any]]:
    """What each rank heard, and a hash of its weights."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "PASSIVE"}
    env |= {"PYTHONPATH": os.pathsep.join(map(str, (TESTS, ROOT)))}
    run = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    script = [__file__, str(folder), str(tmp_path / "run"), *flags]
    done = subprocess.run([sys.executable, *run, *script], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads((tmp_path / "run" / f"rank-{rank}.json").read_text()) for rank in range(processes)]


if __name__ == "__main__":
    shards, where, *how = sys.argv[1:]
    with door():
        options = {"dataloader_num_workers": 2, "save_strategy": "steps", "save_steps": 3, "max_steps": 12}
        ranked = trainer_of(pairs_of(Path(shards)), arguments(Path(where), **options), mixed="mixed" in how)
        ranked.train(resume_from_checkpoint=str(Path(where, "checkpoint-3")) if "resume" in how else None)
        weights = sum(float(value.double().abs().sum()) for value in ranked.model.state_dict().values())
        result = {"heard": ranked.heard, "weights": weights}
        Path(where, f"rank-{ranked.args.process_index}.json").write_text(json.dumps(result))
