"""The steps that every recipe takes, in order. The recipes themselves, with their defaults, are in `recipes/`."""

import copy
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetGenerationError
from torch import nn
from transformers import ClapFeatureExtractor, ClapProcessor, set_seed
from transformers.trainer_utils import IntervalStrategy, get_last_checkpoint

from teminal_hf.runs import run_folder
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.runs.arguments import Config, DataArguments, parse
from teminal_hf.evaluation.evaluator import ZsteEvaluator, embed_text, warn_if_collapsed
from teminal_hf.models.frozen_prefix import announce
from teminal_hf.hub.push import make_repo, push_run
from teminal_hf.data.mixing import WithPairs
from teminal_hf.runs.model_card import write_card
from teminal_hf.models.checkpoint import load_clap, save_clap
from teminal_hf.hub.offline import fetching_data, saying_what_to_fetch
from teminal_hf.data.groups import STAGE_A_VIEWS, STAGE_B_VIEWS, GroupDataset, Renderer, RenderSettings, plan
from teminal_hf.data.caption_pairs import PlainPairs
from teminal_hf.training.cached_groups import CachedGroups, Rows, collate_cached
from teminal_hf.runs.lineage import base_of, check_unseen, facts_of, history_of
from teminal_hf.data.manifest_audio import licence_of_clips
from teminal_hf.evaluation.report import compare, format_table, plot, to_json
from teminal_hf.clips.sources import ClipTable
from teminal_hf.models.stages import apply_stage
from teminal_hf.models.split import attach_split_forward
from teminal_hf.training.trainer import TeminalTrainer
from teminal_hf.training.config import TeminalConfig, check_training

logger = logging.getLogger("teminal_hf")


def main(stage: str, argv: Sequence[str], defaults: Path) -> None:
    """Run `stage` ("stage_a", "stage_b" or "plain_pairs") as the command line says.

    What a user can mend (`ValueError`, `OSError`) ends the program with its message alone.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)  # say it once
    try:
        config = parse(argv, defaults)
        if config.run.resume:  # as it was configured, whatever the defaults are by now
            run_folder.check_folder(stage, config.training.output_dir or None, resume=True)
            config = parse(argv, Path(config.training.output_dir or "") / run_folder.CONFIG)
        post_train(stage, config)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def post_train(stage: str, config: Config) -> Path:
    """Load, plan, train, evaluate before and after, save: one run."""
    args, run = config.training, config.run
    policy = run.policy()
    run_folder.check_folder(stage, args.output_dir or None, run.resume)
    if config.data.pairs and stage == "stage_b" and "pair" not in args.views:
        args.views.append("pair")
    _check_views(stage, args, config.data)
    if args.push_to_hub and not args.hub_model_id:
        raise ValueError("push_to_hub needs a name: --hub_model_id USER/NAME, or NAME in your own namespace")
    check_training(args)
    main_process = args.process_index == 0
    set_seed(args.seed)

    clips = None if stage == "plain_pairs" else config.data.clips()
    start = _starting_point(stage, config, clips)
    config.run.model = base_of(config, start)
    model, processor = load_clap(start)
    warn_if_collapsed(embed_text(model, processor, ["rain", "a dog barks", "church bells", "an engine", "laughing"]))

    data = _data(stage, config, clips, processor)
    history = history_of(start)
    check_unseen(history, config.data.place, data.folds)
    if args.push_to_hub and main_process:  # a missing login shows now, not after the training
        args.hub_model_id = make_repo(
            str(args.hub_model_id),
            "model",
            private=args.hub_private_repo,
            token=args.hub_token,
            revision=args.hub_revision,
        )
    reference = None
    if args.retention:
        reference = copy.deepcopy(model).requires_grad_(False)
        attach_split_forward(reference, policy.cut)
    judge = _evaluator(config, data.validation_clips, processor, run.eval_groups, run.eval_tasks)
    final = _evaluator(config, data.test_clips, processor, run.report_groups, run.report_tasks)
    tuned, trainable = apply_stage(model, policy)
    folder = run_folder.open_run(stage, args.output_dir or None)
    args.output_dir = str(folder)
    if main_process:
        run_folder.write_config(folder, config.given)
        facts = facts_of(stage, config, start, trainable, data.folds)
        licence = None if clips is None or config.data.pairs else licence_of_clips(clips.ids)
        run_folder.write_record(folder, **facts, licence=licence, history=history)

    collator = GroupCollator(processor, args.views, plain_wording=args.plain_share > 0)
    train, validation = data.train, data.validation
    collate: Callable[..., Any] = collator
    if run.cache_prefix:
        train, validation = _through_prefix(config, tuned, collator, (train, validation), (judge, final))
        collate = collate_cached
        args.dataloader_num_workers = 0  # reading the cache is cheaper than handing batches between processes

    trainer = TeminalTrainer(
        tuned,
        args,
        data_collator=collate,
        train_dataset=train,
        eval_dataset=validation,
        processing_class=processor,
        reference=reference,
        zste=None if judge is None else lambda tuned: judge(tuned, run.cut).figures(),
    )
    began = time.perf_counter()
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if run.resume else None)
    seconds = time.perf_counter() - began
    if not main_process:
        return folder
    plain = save_clap(tuned, processor, folder)
    run_folder.write_json(folder / "log.json", trainer.state.log_history)
    run_folder.write_record(folder, train_seconds=round(seconds, 1), steps=trainer.state.global_step, complete=True)
    if final is not None:
        _report(stage, config, folder, plain, final)
    write_card(folder, args.hub_model_id or folder.name)
    logger.info("saved in %s", folder)
    if args.push_to_hub:
        address = push_run(
            folder,
            str(args.hub_model_id),
            private=args.hub_private_repo,
            token=args.hub_token,
            revision=args.hub_revision,
        )
        logger.info("pushed to %s", address)
    return folder


def _through_prefix(
    config: Config,
    tuned: nn.Module,
    collator: GroupCollator,
    data: Sequence[Rows | None],
    evaluators: Sequence[ZsteEvaluator | None],
) -> list[CachedGroups | None]:
    """`data` with what the frozen layers say of it; the room that the whole run needs on disk is asked for first."""
    args, run = config.training, config.run
    cut = run.policy().cut
    tuned.to(args.device)
    with torch.autocast(args.device.type, torch.bfloat16, enabled=args.bf16):  # as the Trainer would run it
        groups = [
            None if rows is None else CachedGroups(tuned, cut, rows, collator, dtype=run.cache_dtype) for rows in data
        ]
        asked = [store for cached in groups if cached is not None for store in cached.stores]
        with torch.autocast(args.device.type, enabled=False):
            asked += [store for judge in evaluators if judge is not None for store in judge.stores(tuned, cut)]
        announce(*asked)
        return [None if cached is None else cached.fill(args.dataloader_num_workers) for cached in groups]


def _check_views(stage: str, args: TeminalConfig, data: DataArguments) -> None:
    of_stage_b = (*STAGE_A_VIEWS, *STAGE_B_VIEWS, "pair")
    wanted = {"stage_a": STAGE_A_VIEWS, "stage_b": of_stage_b, "plain_pairs": ("forward",)}[stage]
    if data.pairs and stage != "stage_b":
        raise ValueError(f"pairs are mixed into stage B, not into {stage}; pairs alone are the recipe plain_pairs")
    wrong = [view for view in args.views if view not in wanted]
    if wrong:
        raise ValueError(f"{stage} has no view {', '.join(wrong)}; choose of {', '.join(wanted)}")
    if ("pair" in args.views) != bool(data.pairs):
        raise ValueError("the view pair and your pairs go together: --pairs NAME --views forward reversed overlay pair")
    if args.plain_share and stage != "stage_b":
        raise ValueError(f"plain_share is about how stage B says order; {stage} says none: set it to 0")


def _starting_point(stage: str, config: Config, clips: ClipTable | None) -> str:
    """The checkpoint to train: the base, or stage A's output; said aloud."""
    run, output_dir = config.run, config.training.output_dir or None
    if run.resume and output_dir:
        return str(run_folder.read_record(output_dir)["started_from"])
    if run.start_from not in ("auto", "base"):
        logger.info("%s starts from %s", stage, run.start_from)
        return run.start_from
    found, missing = None, ""
    if stage == "stage_b" and run.start_from == "auto" and clips is not None:
        folds = config.data.folds(clips)
        unseen = (*folds.get("validation", ()), *folds.get("test", ()))
        found = run_folder.find_stage_a(output_dir, run.model, config.data.place, unseen)
        missing = " (no finished stage A of this base, these clips and folds found)"
    if found is None:
        logger.info("%s starts from the base checkpoint %s%s", stage, run.model, missing)
        return run.model
    logger.info("%s starts from stage A's output %s", stage, found)
    return str(found)


@dataclass(frozen=True)
class _Data:
    """Rows to train and validate on, and the clips ZSTE is made of."""

    train: Any
    validation: Any = None
    validation_clips: ClipTable | None = None
    test_clips: ClipTable | None = None
    folds: Mapping[str, Sequence[int]] = field(default_factory=dict)


def _data(stage: str, config: Config, clips: ClipTable | None, processor: ClapProcessor) -> _Data:
    data, extractor = config.data, processor.feature_extractor
    if clips is None:
        if config.training.eval_strategy != IntervalStrategy.NO:
            raise ValueError("plain pairs have no validation split; set eval_strategy to no")
        if data.source is None and data.data_dir is None:
            raise ValueError("plain pairs need --source: a Hub or local data set with an audio and a text column")
        pairs = _load_pairs(data.source or "audiofolder", data.data_dir)
        return _Data(PlainPairs(pairs, data.audio_column, data.text_column, extractor))
    folds = data.folds(clips)
    chosen_clips = clips.in_folds(fold for chosen in folds.values() for fold in chosen)
    with PartialState().local_main_process_first():  # the others read what it has decoded
        usable = chosen_clips.usable(extractor.sampling_rate)
    tables = {name: usable.in_folds(chosen) for name, chosen in folds.items()}
    window = extractor.nb_max_samples / extractor.sampling_rate
    renderer = Renderer(usable, RenderSettings(extractor.sampling_rate, window, data.gap, data.crossfade))

    validates = config.training.eval_strategy != IntervalStrategy.NO
    if validates and "validation" not in tables:
        raise ValueError(f"eval_strategy needs validation folds, and there are none (folds: {folds}); set it to no")
    views = [view for view in config.training.views if view != "pair"]

    def groups(split: str, n_groups: int) -> GroupDataset:
        rows = list(plan(stage, tables[split], n_groups, data.groups_seed, data.connectives))
        return GroupDataset(rows, renderer, views)

    rows = {"train": groups("train", data.n_groups)}
    if validates:
        rows["validation"] = groups("validation", max(2, data.n_groups // 8))
    mixed = _with_pairs(data, rows, extractor) if data.pairs else rows
    judged = tables["validation"] if validates else None
    return _Data(mixed["train"], mixed.get("validation"), judged, tables.get("test"), folds)


def _with_pairs(
    data: DataArguments, groups: Mapping[str, GroupDataset], extractor: ClapFeatureExtractor
) -> dict[str, WithPairs]:
    """The user's own pairs dealt out to the groups; an eighth of them is kept for validation, where there is one."""
    own = {"train": _load_pairs(str(data.pairs))}
    if "validation" in groups:
        parts = own["train"].train_test_split(test_size=max(2, len(own["train"]) // 8), seed=data.groups_seed)
        own = {"train": parts["train"], "validation": parts["test"]}
    pairs = {k: PlainPairs(v, data.pairs_audio_column, data.text_column, extractor) for k, v in own.items()}
    return {split: WithPairs(rows, pairs[split], data.groups_seed) for split, rows in groups.items()}


def _load_pairs(source: str, data_dir: str | None = None) -> Dataset:
    try:
        with saying_what_to_fetch(source, fetching_data(source)):
            splits = load_dataset(source, data_dir=data_dir)
    except DatasetGenerationError as error:  # it names the cause in its cause alone
        raise ValueError(
            f"{data_dir or source} cannot be read as a data set: {error.__cause__ or error}. (A folder of audio files "
            "with a metadata.csv needs torchcodec; parquet files with the columns audio and text do not)"
        ) from error
    if "train" not in splits:
        raise ValueError(f"the data set has no train split; it has {', '.join(splits)}")
    return splits["train"]


def _evaluator(
    config: Config, clips: ClipTable | None, processor: ClapProcessor, n_groups: int | None, tasks: Sequence[str]
) -> ZsteEvaluator | None:
    if clips is None:
        return None
    return ZsteEvaluator(
        clips,
        processor,
        n_groups=None if n_groups is None else min(n_groups, len(clips)),
        seed=config.run.report_seed,
        tasks=tasks,
        gap=config.data.gap,
        crossfade=config.data.crossfade,
    )


def _report(stage: str, config: Config, folder: Path, model: nn.Module, evaluator: ZsteEvaluator) -> None:
    """ZSTE of the base and of the result on the same items: printed, zste.json, zste.png."""
    base, _ = load_clap(config.run.model)
    cut = config.run.cut  # both have one prefix: computed once
    before, after = (to_json(evaluator(m.to(config.training.device), cut)) for m in (base, model))
    rows = compare(before, [after])
    run_folder.write_json(folder / "zste.json", {"before": before, "after": after, "comparison": rows})
    name, folds = stage.replace("_", " "), sorted(set(evaluator.clips.folds))
    plot(rows, folder / "zste.png", f"ZSTE before and after {name}, fold {', '.join(map(str, folds))}")
    print(f"\nZSTE, %, {config.run.model} before and after {name} ({folder}), 95 % intervals\n")
    print(format_table(rows))
