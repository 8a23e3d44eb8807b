"""What makes no sense in a recipe's configuration, said by name before anything is loaded."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, SaveStrategy, SchedulerType

from teminal_hf.data.bounds import SEED, Bound, check_bounds, check_distinct, check_finite_numbers
from teminal_hf.data.captions import CONNECTIVES, of_family, phrasings
from teminal_hf.data.views import PAIR, STAGE_A_VIEWS, STAGE_B_VIEWS
from teminal_hf.data.zste_items import ZSTE_TASKS
from teminal_hf.errors import ConfigError, DataError
from teminal_hf.evaluation.zste import ORDER_TASKS, TEMPORAL_TASKS
from teminal_hf.models.frozen_prefix import DTYPES
from teminal_hf.order_tests.tacos import MARGIN, TACOS
from teminal_hf.runs import run_folder
from teminal_hf.training.config import ALPHAS, check_numbers, check_optimisation, check_training, check_usable

if TYPE_CHECKING:
    from teminal_hf.runs.arguments import Config

_VIEWS = {"stage_a": STAGE_A_VIEWS, "stage_b": (*STAGE_A_VIEWS, *STAGE_B_VIEWS, PAIR), "plain_pairs": ("forward",)}
_FOLDS = ("train_folds", "validation_folds", "test_folds")
_BOUNDS = {
    "reference_size": Bound(1),
    "n_groups": Bound(2, 100_000_000),  # a contrast needs two; no memory holds more rows
    "clips_per_class": Bound(1),
    "shuffle_buffer": Bound(0),
    "positions": Bound(0, 1),
    "gap": Bound(0),
    "margin": Bound(0),
    "crossfade": Bound(0),
    "audio_blocks": Bound(0),
    "text_layers": Bound(0),
    "lora_rank": Bound(1, 4096),
    "eval_groups": Bound(1),
    "report_groups": Bound(2),  # an interval over clips needs two
    "groups_seed": SEED,
    "report_seed": SEED,
}


# What a phase may set for itself: how groups are made and said, the loss, the steps.
_OF_A_PHASE = {
    "n_groups",
    "groups_seed",
    "connectives",
    "overlap_connectives",
    "positions",
    "augment",
    "gap",
    "crossfade",
}
_OF_A_PHASE |= {*ALPHAS, "beta", "rehearsal", "pairs_weight", "retention", "mixture", "average", "audio_rate"}
_OF_A_PHASE |= {"text_hinge"}
_OF_A_PHASE |= {"plain_share", "num_train_epochs", "max_steps", "per_device_train_batch_size", "leave_out"}
_OF_A_PHASE |= {"learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay", "seed"}
_OF_A_PHASE |= {"max_grad_norm", "logging_steps", "save_strategy", "save_steps", "mini_batch_groups"}
_OF_A_PHASE |= {"gradient_accumulation_steps"}
_PHASE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


def check_phases(phases: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise a ConfigError for a phase that cannot be a folder's name, or that sets what all phases must share."""
    for name, settings in phases.items():
        if not _PHASE_NAME.fullmatch(name) or name.startswith(PREFIX_CHECKPOINT_DIR):
            raise ConfigError(f"phase {name!r}: its name is a folder's; take small letters, digits, - and _")
        if shared := sorted(set(settings) - _OF_A_PHASE):
            raise ConfigError(
                f"phase {name} sets {', '.join(shared)}, which all phases share; a phase may set "
                f"{', '.join(sorted(_OF_A_PHASE))}"
            )


def check_given(values: Mapping[str, Any]) -> None:
    """Raise a ConfigError that names the first setting that makes no sense whatever the others are."""
    check_bounds(values, _BOUNDS)
    check_numbers(values)
    check_distinct(values, (*_FOLDS, "eval_tasks", "report_tasks", "views", "left_out_classes", "known"))
    if values.get("accelerator_config") is not None:
        raise ConfigError(
            f"accelerator_config cannot be used here (found {values['accelerator_config']}): the loss is over "
            "the batches of all processes, which must be of one size and dealt by one order; leave it out"
        )
    for name in ("pairs", "reference"):
        if values.get(name) is not None and not str(values[name]).strip():  # a variable that is not set
            raise ConfigError(f"{name} is empty; name a data set or a folder, or leave it out")
    for name in ("eval_tasks", "report_tasks"):
        chosen = values.get(name, ZSTE_TASKS)
        unknown = [task for task in chosen if task not in ZSTE_TASKS]
        if unknown or not chosen:
            what = f"has unknown task(s) {', '.join(unknown)}" if unknown else "is empty"
            raise ConfigError(f"{name} {what}; choose of {', '.join(ZSTE_TASKS)}")
    if values.get("cache_dtype", "float32") not in DTYPES:
        raise ConfigError(f"unknown cache_dtype {values['cache_dtype']!r}; choose of {', '.join(DTYPES)}")


def check(config: "Config") -> None:
    """Raise a ConfigError for settings that make no sense beside one another, or in this recipe."""
    data, run, args = config.data, config.run, config.training
    for part in (data, run, args):
        check_finite_numbers(vars(part))
    if run.model.isdigit() and not Path(run.model).exists():
        raise ConfigError(f"model must be a checkpoint's folder, its name on the Hub, or clap-mini, found {run.model}")
    policy = run.policy()
    if not (policy.audio_blocks or policy.text_layers or policy.text_pooler or policy.projections):
        raise ConfigError(
            "nothing but the scale would be trained: audio_blocks and text_layers are 0, text_pooler and projections "
            "are off; give one of them"
        )
    if data.source == TACOS and config.stage != "plain_pairs":
        raise ConfigError(f"{TACOS} has no labelled clips for {config.stage}; its scenes are trained on by plain_pairs")
    if data.margin != MARGIN and data.source != TACOS:
        raise ConfigError(f"margin is of --source {TACOS}; nothing else has intervals to derive order from")
    if data.data_dir is not None and data.source is not None and config.stage != "plain_pairs":
        raise ConfigError(f"give either data_dir ({data.data_dir!r}) or source ({data.source!r}), not both")
    if data.gap and data.crossfade:
        raise ConfigError(f"gap ({data.gap} s) and crossfade ({data.crossfade} s) exclude each other; set one to 0")
    if config.stage == "stage_b":
        phrasings(data.connectives, "sequence", data.leave_out)
        phrasings(data.overlap_connectives, "overlap", data.leave_out)
    for family in run.families:
        of_family(family)
    _check_folds(config)
    _check_views(config)
    _check_evaluation(config)
    _check_known(config)
    if data.streaming:
        _check_streaming(config)
    if args.push_to_hub and not args.hub_model_id:
        raise ConfigError("push_to_hub needs a name: --hub_model_id USER/NAME, or NAME in your own namespace")
    check_training(args)
    check_usable(args)
    check_optimisation(args)
    batch = args.per_device_train_batch_size * args.world_size
    if args.dataloader_drop_last and config.stage != "plain_pairs" and data.n_groups < batch:
        raise ConfigError(f"dataloader_drop_last leaves no batch: n_groups is {data.n_groups}, a batch has {batch}")


def _check_folds(config: "Config") -> None:
    chosen = {name: getattr(config.data, name) or () for name in _FOLDS}
    used = [fold for folds in chosen.values() for fold in folds]
    twice = sorted({fold for fold in used if used.count(fold) > 1})
    if twice:
        given = ", ".join(f"{name} {list(folds)}" for name, folds in chosen.items())
        raise ConfigError(
            f"fold(s) {twice} are in two splits: {given}; clips of one recording share a fold, keep them apart"
        )
    if config.validates and config.data.validation_folds == []:
        raise ConfigError("eval_strategy needs validation folds, and validation_folds is empty; set it to no")
    if config.data.train_folds == []:
        raise ConfigError("train_folds is empty; name at least one, or leave it out for all but the last two")


def _check_views(config: "Config") -> None:
    stage, data, args, wanted = config.stage, config.data, config.training, _VIEWS[config.stage]
    if stage == "plain_pairs" and data.source == TACOS:
        wanted = STAGE_B_VIEWS
        if not data.data_dir:
            raise ConfigError("--source tacos needs --data_dir, the folder of annotations_strong.csv and audio")
    if data.pairs and stage != "stage_b":
        raise ConfigError(f"pairs are mixed into stage B, not into {stage}; pairs alone are the recipe plain_pairs")
    wrong = [view for view in args.views if view not in wanted]
    if wrong:
        raise ConfigError(f"{stage} has no view {', '.join(wrong)}; choose of {', '.join(wanted)}")
    if stage == "stage_b" and not set(args.views) - set(STAGE_A_VIEWS):
        raise ConfigError(
            f"views {', '.join(args.views)} are stage A's, and teach no order: is this a file of stage A? Run it by "
            f"`teminal train stage_a`, or add some of {', '.join(STAGE_B_VIEWS)}"
        )
    if (PAIR in args.views) != bool(data.pairs and not data.streaming):
        raise ConfigError(
            "the view pair and your pairs go together: --pairs NAME --views forward reversed overlay pair; pairs that "
            "are streamed come beside the views, without one"
        )
    if args.mixture and stage == "plain_pairs":
        raise ConfigError("mixture is about two clips in one recording, and plain pairs have no clips: set it to 0")
    if data.reference is not None and stage == "plain_pairs" and not args.retention:
        raise ConfigError("reference is what retention asks about, and retention is 0: set it (to 1.0, say)")
    if args.plain_share and stage != "stage_b":
        raise ConfigError(f"plain_share is about how stage B says order; {stage} says none: set it to 0")
    if args.plain_share and CONNECTIVES["before"].family in data.leave_out:
        raise ConfigError('plain_share says "X before Y", which leave_out leaves out: set plain_share to 0')


def _check_evaluation(config: "Config") -> None:
    args = config.training
    if config.stage == "plain_pairs" and config.validates:
        raise ConfigError("plain pairs have no validation split; set eval_strategy to no")
    if config.stage == "plain_pairs" and config.data.source is None and config.data.data_dir is None:
        raise ConfigError("plain pairs need --source: a Hub or local data set with an audio and a text column")
    uses = {
        "load_best_model_at_end": args.load_best_model_at_end,
        "save_strategy best": args.save_strategy == SaveStrategy.BEST,
        "lr_scheduler_type reduce_lr_on_plateau": args.lr_scheduler_type == SchedulerType.REDUCE_ON_PLATEAU,
    }
    needing = [name for name, is_used in uses.items() if is_used]
    if needing and not config.validates:
        raise ConfigError(f"{needing[0]} needs evaluations to choose by: set eval_strategy to epoch or steps")
    if not config.validates or args.metric_for_best_model is None:
        return
    tasks = set(config.run.eval_tasks)
    figures = [*config.run.eval_tasks, *(["1_tiled"] if "1" in tasks else [])]
    averages = {"temporal_average": TEMPORAL_TASKS, "order_average": ORDER_TASKS}
    figures += [name for name, of in averages.items() if tasks.issuperset(of)]
    computed = ["eval_loss", *(f"eval_zste_{name}" for name in figures)]
    if f"eval_{args.metric_for_best_model.removeprefix('eval_')}" not in computed:
        raise ConfigError(
            f"metric_for_best_model {args.metric_for_best_model} is not computed; with these eval_tasks there are "
            f"{', '.join(computed)}"
        )


def _check_streaming(config: "Config") -> None:
    data, args = config.data, config.training
    if args.auto_find_batch_size:
        raise ConfigError("auto_find_batch_size would leave rows of a stream out, at each trial; set the batch size")
    if config.stage == "stage_b" and data.pairs:  # beside groups, which have epochs and may be cached
        return
    if config.stage != "plain_pairs":
        raise ConfigError(
            f"streaming is of plain_pairs and of stage B's --pairs: groups of {config.stage} join any clip with any "
            "other, so clips are decoded once and kept on disk. Leave it out"
        )
    if data.source == TACOS:
        raise ConfigError(f"{TACOS} cannot be streamed: its scenes are cut from recordings by number; leave it out")
    if config.run.cache_prefix:
        raise ConfigError("streaming keeps nothing, and cache_prefix keeps what is heard: set one of them to false")
    if "epoch" in (args.save_strategy, args.logging_strategy):
        raise ConfigError("a stream is one long epoch: set save_strategy and logging_strategy to steps or no")
    if args.dataloader_drop_last:
        raise ConfigError("dataloader_drop_last: all batches of a stream are of one size; leave it out")


def _check_known(config: "Config") -> None:
    data, run = config.data, config.run
    asked = {"known": run.known, "known_names": run.known_names, "left_out_classes": data.left_out_classes}
    for name, value in asked.items():
        if value and (config.stage == "plain_pairs" or data.test_folds == []):
            raise ConfigError(f"{name} is about R0 of the final table, and without test folds there is none")
    if run.known_names and not run.known:
        raise ConfigError("known_names are candidates for further sounds; name their folder or data set by --known")
    if len(data.left_out_classes) == 1:
        raise ConfigError("left_out_classes needs at least two: R0 asks which of them is heard")


def check_resumed(given: Mapping[str, Any], folder: Path, argv: Sequence[str]) -> None:
    """Raise a DataError unless the configuration in a run's folder is the one that its record has, flags apart: a file
    that was cut may be whole YAML."""
    named = {flag.split("=")[0].lstrip("-").replace("-", "_").removeprefix("no_") for flag in argv}
    recorded = run_folder.read_record(folder).get("settings", {})
    # Of texts that may be paths the record has the last part alone.
    differing = [
        name
        for name, value in recorded.items()
        if name not in named
        and (name not in given or not (isinstance(value, str) or name == "known" or given[name] == value))
    ]
    if differing:
        raise DataError(
            f"{folder / run_folder.CONFIG} was cut or edited: it differs from {run_folder.RECORD} beside it in "
            f"{', '.join(sorted(differing))}. Mend it, or give these as flags"
        )
