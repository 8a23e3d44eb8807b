"""Two, four and eight processes that share the groups take the steps of one process with all of them.

Run as a script, under `python -m torch.distributed.run`, this file is one of the ranks. They get processes of their own
with a time limit: two-rank runs inside one parent have hung.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from support.paths import ROOT, TESTS
from support.tiny import STAGE_A, STAGE_B, TinyRows, groups, tiny_clap, tiny_processor, tiny_reference
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.training.cached_groups import CachedGroups, collate_cached
from teminal_hf.training.config import TeminalConfig
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.trainer import TeminalTrainer

OPTIONS: dict[str, dict[str, Any]] = {
    "stage_a": {"views": list(STAGE_A)},
    "stage_b": {
        "views": [*STAGE_B, "single"],
        "alpha_same_time": 3.0,
        "alpha_cross_time": 0.5,
        "alpha_same_overlap": 2.0,
        "alpha_cross_overlap": 0.3,
        "beta": 0.4,
        "rehearsal": 0.6,
        "retention": 2.0,
        "mixture": 0.5,
        "text_hinge": 0.7,
        "average": 0.9,
        "plain_share": 0.5,
    },
    "tact": {"views": ["reversed", "forward"], "alpha_same_time": 5.0, "alpha_cross_time": 0.0},
    "uneven": {
        "views": ["forward", "reversed", "double"],
        "rehearsal": 0.6,
        "retention": 2.0,
        "mixture": 0.5,
        "text_hinge": 3.0,
    },
    "accumulated": {"views": ["forward", "reversed"], "gradient_accumulation_steps": 2},
    "cached": {"views": ["forward", "overlay"], "mini_batch_groups": 2},
}
OPTIONS["warm"] = OPTIONS["cached"]
# Of which number of processes: each costs the imports of its own.
KINDS = {2: list(OPTIONS), 4: ["uneven", "cached", "warm"], 8: ["uneven"]}
CASES = [(processes, kind) for processes, kinds in KINDS.items() for kind in kinds]


class Counting(TeminalTrainer):
    """Notes the bytes that this process gives to each collective of a step, DDP's among them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sent: list[dict[str, list[int]]] = []

    def training_step(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        if self.args.world_size == 1:
            return super().training_step(model, *args, **kwargs)
        sent: dict[str, list[int]] = {"all_gather": [], "all_reduce": [], "ddp": []}

        def note(name: str, tensor: torch.Tensor) -> None:
            self.sent[-1][name].append(tensor.numel() * tensor.element_size())

        def of_ddp(state: None, bucket: torch.distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
            note("ddp", bucket.buffer())
            return allreduce_hook(None, bucket)

        if not self.sent:
            model.register_comm_hook(None, of_ddp)
        self.sent.append(sent)
        all_gather, all_reduce = torch.distributed.all_gather, torch.distributed.all_reduce

        def gathering(into: Any, tensor: torch.Tensor) -> Any:
            note("all_gather", tensor)
            return all_gather(into, tensor)

        def reducing(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if not kwargs:  # otherwise it is the hook's
                note("all_reduce", tensor)
            return all_reduce(tensor, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.distributed, "all_gather", gathering)
            patch.setattr(torch.distributed, "all_reduce", reducing)
            return super().training_step(model, *args, **kwargs)


def train(kind: str, folder: Path, processes: int) -> Any:
    """Two SGD steps on 8 groups each (with AdamW rounding would show), what they logged, which rows were read.

    "uneven", "accumulated": an epoch of 11 groups, of which 3 are left for the second batch; taken for themselves, and
    accumulated. "cached": with several processes, from a cache that they have written together; "warm": that has been
    written before.
    """
    args = TeminalConfig(
        output_dir=str(folder),
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        max_steps=2,
        per_device_train_batch_size=8 // processes,
        optim="sgd",
        learning_rate=0.05,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        logging_steps=1,
        train_sampling_strategy="sequential",
        **OPTIONS[kind],
    )
    assert args.world_size == processes
    rows = groups(16, args.views)
    # (X, Y) on the first rank, and on the second (X, Y) again and (Y, X): false negatives across processes
    x, y = rows[0]["label_a"], rows[0]["label_b"]
    rows[4], rows[5] = rows[4] | {"label_a": x, "label_b": y}, rows[5] | {"label_a": y, "label_b": x}
    rows[9] = rows[9] | {"label_a": x, "label_b": y}
    model, _ = apply_stage(tiny_clap(), StagePolicy(audio_blocks=2))
    reference = None
    if args.retention:
        reference = tiny_reference(model, tiny_clap(seed=9), StagePolicy(audio_blocks=2).split_point)
    collator = GroupCollator.of(tiny_processor(), args)
    many = TinyRows(rows[:11] if kind in ("uneven", "accumulated") else rows * 9)  # 144: three shards
    trainer = Counting(model, args, data_collator=collator, train_dataset=many, reference=reference)
    if kind in ("cached", "warm") and processes > 1:
        split_point = StagePolicy(audio_blocks=2).split_point
        trainer.train_dataset = CachedGroups(model, split_point, many, collator, dtype="float32").fill()
        trainer.data_collator = collate_cached
    trainer.train()
    log = [row for row in trainer.state.log_history if "loss" in row]
    return model.state_dict(), log, sorted({*many.read}), trainer.sent


@pytest.fixture(scope="module")
def left_by(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder where so many ranks have left their results."""

    @cache
    def run(processes: int) -> Path:
        folder = tmp_path_factory.mktemp(f"{processes}_ranks")
        env = os.environ | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "PASSIVE"}
        env |= {"TEMINAL_CACHE": str(folder / "cache"), "PYTHONPATH": os.pathsep.join(map(str, (TESTS, ROOT)))}
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        command = [sys.executable, *launch, __file__, str(folder), str(processes)]
        done = subprocess.run(command, env=env, timeout=240, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        assert done.stderr.count("training 10,") == len(KINDS[processes])  # said once, not once a process
        return folder

    return run


@pytest.mark.parametrize(("processes", "kind"), CASES, ids=lambda value: str(value))
def test_several_processes_equal_one_with_the_whole_batch(
    tmp_path: Path, left_by: Callable[[int], Path], processes: int, kind: str
) -> None:
    one, log, *_ = train(kind, tmp_path, 1)
    start = tiny_clap().state_dict()
    assert sum(not torch.equal(one[name], start[name]) for name in one) > 40
    for rank in range(processes):
        several, their_log, read, _ = torch.load(left_by(processes) / f"{kind}-{rank}.pt")
        assert one.keys() == several.keys()
        for name in one:
            torch.testing.assert_close(several[name], one[name], atol=1e-5, rtol=1e-5, msg=name)
        for ours, theirs in zip(log, their_log, strict=True):
            for name in (name for name in ours if name.startswith("loss")):
                assert theirs[name] == pytest.approx(ours[name], rel=1e-4, abs=1e-6), name
        if kind == "cached":  # each has computed its own shards of 64 rows
            shards = [range(64), range(64, 128), range(128, 144)]
            assert read == sorted(row for shard in shards[rank::processes] for row in shard)
        if kind == "warm":
            assert not read


def test_bytes_of_a_step(left_by: Callable[[int], Path]) -> None:
    """As docs/scale.md counts them: 2 views of 4 groups, 16 dimensions, one key a caption."""
    *_, sent = torch.load(left_by(2) / "tact-0.pt")
    embeddings = 2 * (2 * 4) * 16 * 4  # audio and text
    _, trained = apply_stage(tiny_clap(), StagePolicy(audio_blocks=2))
    assert len(sent) == 2
    for step in sent:
        assert step["all_gather"] == [embeddings, (2 * 4) * 8]
        assert step["all_reduce"] == [8, 2 * embeddings]  # how many keys, and the gradients of both processes' rows
        assert sum(step["ddp"]) == 4 * trained.count


if __name__ == "__main__":
    out, number = Path(sys.argv[1]), int(sys.argv[2])
    for name in KINDS[number]:
        torch.save(train(name, out / "run", number), out / f"{name}-{os.environ['RANK']}.pt")
