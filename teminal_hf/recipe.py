"""The steps that every recipe takes, in order. The recipes themselves, with their defaults, are in `recipes/`."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict, concatenate_datasets, load_dataset
from torch import nn
from transformers import ClapProcessor, set_seed
from transformers.trainer_utils import get_last_checkpoint

from teminal_hf import run_folder
from teminal_hf.collator import GroupCollator
from teminal_hf.config import Config, DataArguments, parse
from teminal_hf.evaluation import ZsteEvaluator, embed_text, warn_if_collapsed
from teminal_hf.models import load_clap, save_clap
from teminal_hf.pairs import GroupDataset, Renderer, RenderSettings, plan
from teminal_hf.plain import PlainPairs
from teminal_hf.prefix_cache import CachedGroups, collate_cached
from teminal_hf.report import compare, format_table, plot, to_json
from teminal_hf.sources import ClipTable
from teminal_hf.stages import Trainable, apply_stage
from teminal_hf.trainer import TeminalTrainer

logger = logging.getLogger("teminal_hf")


def main(stage: str, argv: Sequence[str], defaults: Path) -> Path:
    """Run `stage` ("stage_a", "stage_b" or "plain_pairs") as the command line says; returns the run folder."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    return post_train(stage, parse(argv, defaults))


def post_train(stage: str, config: Config) -> Path:
    """Load, plan, train, evaluate before and after, save: one run."""
    args, run = config.training, config.run
    policy = run.policy()
    folder = run_folder.open_run(stage, args.output_dir or None, run.resume)
    args.output_dir = str(folder)
    main_process = args.process_index == 0
    set_seed(args.seed)

    start = _starting_point(stage, config, folder)
    model, processor = load_clap(start)
    warn_if_collapsed(embed_text(model, processor, ["rain", "a dog barks", "church bells", "an engine", "laughing"]))

    groups, validation, test = _data(stage, config, processor)
    tuned, trainable = apply_stage(model, policy)
    if main_process:
        run_folder.write_config(folder, config.given)
        run_folder.write_record(folder, **_facts(stage, config, start, trainable))

    collator = GroupCollator(processor, args.views, plain_wording=args.plain_share > 0)
    train_set: Any = groups
    train_collator: Any = collator
    if run.cache_prefix:
        cache = folder / f"prefix_cache_{args.process_index}.bin"
        workers = args.dataloader_num_workers
        train_set = CachedGroups(tuned, policy.cut, groups, collator, cache, num_workers=workers)
        train_collator = collate_cached
        args.dataloader_num_workers = 0  # reading the cache is cheaper than handing batches between processes
    zste = None
    if validation is not None:
        judge = ZsteEvaluator(
            validation, processor, n_groups=min(run.eval_groups, len(validation)), tasks=run.eval_tasks,
            seed=run.report_seed, gap=config.data.gap, crossfade=config.data.crossfade,
        )  # fmt: skip
        zste = _Figures(judge, policy.cut)

    trainer = TeminalTrainer(
        tuned,
        args,
        data_collator=train_collator,
        train_dataset=train_set,
        processing_class=processor,
        zste=zste,
    )
    began = time.perf_counter()
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if run.resume else None)
    seconds = time.perf_counter() - began
    if not main_process:
        return folder
    plain = save_clap(tuned, processor, folder)
    if run.cache_prefix:
        cache.unlink()
    run_folder.write_json(folder / "log.json", trainer.state.log_history)
    run_folder.write_record(folder, train_seconds=round(seconds, 1), steps=trainer.state.global_step, complete=True)
    if test is not None:
        _report(stage, config, folder, plain, processor, test)
    logger.info("saved in %s", folder)
    return folder


def _starting_point(stage: str, config: Config, folder: Path) -> str:
    """The checkpoint to train: the base, or stage A's output; said aloud."""
    run = config.run
    if run.start_from not in ("auto", "base"):
        logger.info("%s starts from %s", stage, run.start_from)
        return run.start_from
    found = run_folder.find_stage_a(folder, run.model) if stage == "stage_b" and run.start_from == "auto" else None
    if found is None:
        missing = " (no finished stage A of this base found)" if stage == "stage_b" and run.start_from == "auto" else ""
        logger.info("%s starts from the base checkpoint %s%s", stage, run.model, missing)
        return run.model
    logger.info("%s starts from stage A's output %s", stage, found)
    return str(found)


def _data(stage: str, config: Config, processor: ClapProcessor) -> tuple[Any, ClipTable | None, ClipTable | None]:
    """Rows to train on, and the clips of the validation and test folds."""
    data, extractor = config.data, processor.feature_extractor
    if stage == "plain_pairs":
        return PlainPairs(_load_pairs(data), data.audio_column, data.text_column, extractor), None, None
    clips = data.clips()
    folds = data.folds(clips)
    usable = clips.in_folds(fold for chosen in folds.values() for fold in chosen).usable(extractor.sampling_rate)
    tables = {name: usable.in_folds(chosen) for name, chosen in folds.items()}
    settings = RenderSettings(
        extractor.sampling_rate, extractor.nb_max_samples / extractor.sampling_rate, data.gap, data.crossfade
    )
    rows = list(plan(stage, tables["train"], data.n_groups, data.groups_seed))
    groups = GroupDataset(rows, Renderer(usable, settings), config.training.views)
    validation = tables.get("validation") if config.training.eval_strategy != "no" else None
    return groups, validation, tables.get("test")


def _load_pairs(data: DataArguments) -> Dataset:
    if data.source is None and data.data_dir is None:
        raise ValueError("plain pairs need --source: a Hub or local data set with an audio and a text column")
    loaded = load_dataset(data.source or "audiofolder", data_dir=data.data_dir)
    return concatenate_datasets(list(loaded.values())) if isinstance(loaded, DatasetDict) else loaded


class _Figures:
    """ZSTE during training, as flat figures; the frozen prefix is evaluated once."""

    def __init__(self, evaluator: ZsteEvaluator, cut: Any) -> None:
        self.evaluator, self.cut = evaluator, cut

    def __call__(self, model: nn.Module) -> dict[str, float]:
        return self.evaluator(model, self.cut).figures()


def _facts(stage: str, config: Config, start: str, trainable: Trainable) -> Mapping[str, Any]:
    return {
        "stage": stage,
        "base": config.run.model,
        "started_from": start,
        "seed": config.training.seed,
        "trained": {"count": trainable.count, "total": trainable.total, "share": trainable.share},
        "trained_tensors": list(trainable.names),
        "processes": config.training.world_size,
        "threads": torch.get_num_threads(),
        "complete": False,
    }


def _report(
    stage: str, config: Config, folder: Path, model: nn.Module, processor: ClapProcessor, test: ClipTable
) -> None:
    """ZSTE of the base and of the result on the same items: printed, zste.json, zste.png."""
    run, data = config.run, config.data
    n_groups = None if run.report_groups is None else min(run.report_groups, len(test))
    evaluator = ZsteEvaluator(
        test, processor, n_groups=n_groups, seed=run.report_seed, tasks=run.report_tasks, gap=data.gap,
        crossfade=data.crossfade,
    )  # fmt: skip
    base, _ = load_clap(run.model)
    before, after = (to_json(evaluator(m.to(config.training.device))) for m in (base, model))
    rows = compare(before, [after])
    run_folder.write_json(folder / "zste.json", {"before": before, "after": after, "comparison": rows})
    plot(rows, folder / "zste.png", f"ZSTE before and after {stage.replace('_', ' ')}, folds {sorted(set(test.folds))}")
    print(f"\nZSTE, %, {run.model} before and after {stage.replace('_', ' ')} ({folder}), 95 % intervals\n")
    print(format_table(rows))
