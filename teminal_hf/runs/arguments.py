"""Arguments of a recipe: a YAML file gives defaults, flags override, unknown keys fail."""

import argparse
import copy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import transformers
import yaml
from transformers import HfArgumentParser, TrainingArguments

from teminal_hf.clips.folds import split_folds
from teminal_hf.clips.sources import ClipSource
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.captions import SEQUENCE_CONNECTIVES
from teminal_hf.data.views import PAIR, STAGE_A_VIEWS, STAGE_B_VIEWS
from teminal_hf.data.zste_items import ZSTE_TASKS
from teminal_hf.errors import ConfigError, NotFoundError
from teminal_hf.models.checkpoint import CLAP_MINI
from teminal_hf.models.split import SplitPoint
from teminal_hf.models.stages import StagePolicy
from teminal_hf.runs import run_folder
from teminal_hf.training.config import TeminalConfig, check_training

_VIEWS = {"stage_a": STAGE_A_VIEWS, "stage_b": (*STAGE_A_VIEWS, *STAGE_B_VIEWS, PAIR), "plain_pairs": ("forward",)}
# The flags of transformers that most runs need, for --help.
_USUAL = (
    *("output_dir", "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "seed", "bf16", "use_cpu"),
    *("eval_strategy", "eval_steps", "save_strategy", "save_steps", "save_total_limit", "load_best_model_at_end"),
    *("metric_for_best_model", "logging_steps", "report_to", "run_name", "push_to_hub", "hub_model_id"),
    *("hub_strategy", "hub_private_repo", "dataloader_num_workers", "torch_compile"),
)
_NOT_KEPT = ("output_dir", "resume", "hub_token")  # of this run, or a secret; the rest runs it again


def _field(help: str, default: Any) -> Any:
    if isinstance(default, tuple):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class DataArguments(ClipSource):
    """Where clips come from and how groups are made of them."""

    text_column: str = _field("caption column, of plain pairs and of pairs mixed in", "text")
    pairs: str | None = _field("your own audio-caption pairs, to mix into stage B: a Hub or local data set", None)
    pairs_audio_column: str = _field("audio column of these pairs", "audio")
    train_folds: list[int] | None = _field("default: all but the last two", None)
    validation_folds: list[int] | None = _field("default: the last but one", None)
    test_folds: list[int] | None = _field("default: the last", None)
    n_groups: int = _field("groups in the training manifest", 2000)
    groups_seed: int = _field("seed of the manifest", 0)
    connectives: list[str] = _field("how stage B says order; repeat one to say it more often", SEQUENCE_CONNECTIVES)
    gap: float = _field("seconds of silence between two sounds", 0.0)
    crossfade: float = _field("seconds of overlap of two sounds in sequence", 0.0)

    def folds(self, clips: ClipTable) -> dict[str, tuple[int, ...]]:
        """Folds of each split, as `split_folds` gives them."""
        chosen = (self.train_folds, self.validation_folds, self.test_folds)
        return split_folds(clips, *(None if folds is None else tuple(folds) for folds in chosen))


@dataclass(frozen=True)
class RunArguments:
    """What is trained, from where, and how it is judged."""

    model: str = _field("base checkpoint: a folder, a Hub id, or clap-mini", CLAP_MINI)
    start_from: str = _field('go on from "auto" (stage B: the latest stage A), "base", or a checkpoint folder', "auto")
    audio_blocks: int = _field("audio blocks trained, from the end", 1)
    text_layers: int = _field("text layers trained, from the end", 1)
    text_pooler: bool = _field("train the text pooler too", False)
    projections: bool = _field("train both projections", True)
    tuning: str = _field('"full", or "lora" for adapters on the same layers', "full")
    lora_rank: int = _field("rank of the adapters", 16)
    cache_prefix: bool = _field("compute the frozen layers once, keep their output on disk", True)
    cache_dtype: str = _field('of that output: "float16", "bfloat16" or "float32"', "float16")
    resume: bool = _field("go on with the run in output_dir", False)
    eval_groups: int = _field("ZSTE groups at each evaluation during training", 100)
    eval_tasks: list[str] = _field("ZSTE tasks at each evaluation", ("1", "3A", "3B", "3O", "5A", "8", "G"))
    report_groups: int | None = _field("ZSTE groups of the final table (default: one per test clip)", None)
    report_tasks: list[str] = _field("ZSTE tasks of the final table", ZSTE_TASKS)
    report_seed: int = _field("seed of the ZSTE items", 0)

    @property
    def split_point(self) -> SplitPoint | None:
        """Where the cached prefix ends; None without a cache."""
        return self.policy().split_point if self.cache_prefix else None

    def policy(self) -> StagePolicy:
        if self.tuning not in ("full", "lora"):
            raise ConfigError(f'unknown tuning {self.tuning!r}; choose "full" or "lora"')
        return StagePolicy(
            audio_blocks=self.audio_blocks,
            text_layers=self.text_layers,
            text_pooler=self.text_pooler,
            projections=self.projections,
            tuning="lora" if self.tuning == "lora" else "full",
            lora_rank=self.lora_rank,
        )


CLASSES = (DataArguments, RunArguments, TeminalConfig)


@dataclass(frozen=True)
class Config:
    """All of a recipe's arguments, resolved and never written to; `given` are those that the YAML file and the flags
    name, which run it again."""

    stage: str
    data: DataArguments
    run: RunArguments
    training: TeminalConfig
    given: Mapping[str, Any]

    @property
    def output_dir(self) -> str | None:
        """The run's folder, if one is named."""
        return self.training.output_dir or None

    @property
    def validates(self) -> bool:
        """Whether there are evaluations during training."""
        return self.training.eval_strategy != "no"

    def training_arguments(self, folder: Path, hub_model_id: str | None) -> TeminalConfig:
        """What the trainer is given: as configured, in the run's folder. Reading the cache is cheaper than handing
        batches between processes, so there are workers only without it."""
        workers = 0 if self.run.cache_prefix else self.training.dataloader_num_workers
        return replace(self.training, output_dir=str(folder), hub_model_id=hub_model_id, dataloader_num_workers=workers)


def read_config(stage: str, argv: Sequence[str], defaults: Path) -> Config:
    """The configuration of a recipe from `[CONFIG.yaml] [--flag value ...]`; without a YAML file from `defaults`, with
    `--resume` from the run's own.

    Raises:
        ConfigError: an unknown key in the YAML file, values that make no sense; unknown flags end the program with a
            usage message.
        NotFoundError: no such YAML file, or nothing to resume.
        TakenError: the folder holds another run.
    """
    config = parse(stage, argv, defaults)
    run_folder.check_folder(stage, config.output_dir, config.run.resume)
    if config.run.resume:  # as it was configured, whatever the defaults are by now
        config = parse(stage, argv, Path(str(config.output_dir)) / run_folder.CONFIG)
    _check(config)
    return config


def parse(stage: str, argv: Sequence[str], defaults: Path) -> Config:
    """As `read_config`, whatever the run's folder holds."""
    arguments = list(argv)
    path = Path(arguments.pop(0)) if arguments and not arguments[0].startswith("-") else defaults
    values = _read_yaml(path, defaults)
    parser = build_parser(stage)
    flags = vars(parser.parse_args(arguments))
    if which := flags.pop("help", None):
        print_help(parser, which)
        sys.exit()
    # What YAML took for text is read as a flag's text is: 1e-4, without a point, is a number.
    texts = [f"--{key}={value}" for key, value in values.items() if isinstance(value, str)]
    given = {**values, **vars(parser.parse_args(texts)), **flags}
    resolved = {"output_dir": "", **given}
    if given.get("pairs") and stage == "stage_b" and PAIR not in given.get("views", ()):
        resolved["views"] = [*given.get("views", STAGE_B_VIEWS), PAIR]
    data, run, training = (_make(cls, resolved) for cls in CLASSES)
    plain = training.to_dict()  # enums as their values
    kept = {key: plain.get(key, value) if key not in ("views",) else value for key, value in given.items()}
    return Config(stage, data, run, training, {key: kept[key] for key in kept if key not in _NOT_KEPT})


def build_parser(stage: str) -> argparse.ArgumentParser:
    """The flags of a recipe; parsing gives those alone that were named."""
    parser = HfArgumentParser(
        list(CLASSES),  # type: ignore[arg-type]
        prog=f"teminal train {stage}",
        usage="%(prog)s [CONFIG.yaml] [--flag value ...]",
        description="Keys of the YAML file and flags are the same; flags override.",
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.HelpFormatter,
    )
    for action in parser._actions:
        action.default, action.required = argparse.SUPPRESS, False
    parser.add_argument("-h", "--help", nargs="?", const="ours", choices=("ours", "all"), default=argparse.SUPPRESS)
    return parser


def print_help(parser: argparse.ArgumentParser, which: str) -> None:
    """The flags in groups: ours and the usual ones of `TrainingArguments`, or ("all") every one."""
    groups = {"clips and groups": _names(DataArguments), "what is trained, and how it is judged": _names(RunArguments)}
    groups |= {"loss": _names(TeminalConfig) - _names(TrainingArguments), "training": set(_USUAL)}
    title = f"all other flags of transformers {transformers.__version__}'s TrainingArguments"
    groups[title] = _names(TrainingArguments) - set(_USUAL) if which == "all" else set()
    shown = argparse.ArgumentParser(
        prog=parser.prog, usage=parser.usage, description=parser.description, add_help=False
    )
    for name, members in groups.items():
        if members:
            shown.add_argument_group(name)._group_actions = [_short(a) for a in parser._actions if _is_in(members, a)]
    if which != "all":
        shown.epilog = f"--help all lists the {len(_names(TrainingArguments)) - len(_USUAL)} others, transformers' own."
    shown.print_help()


def _is_in(members: set[str], action: argparse.Action) -> bool:
    return action.dest in members and not action.option_strings[0].startswith("--no_")


def _short(action: argparse.Action) -> argparse.Action:
    """The flag under one of its spellings, with a short word for its value."""
    short = copy.copy(action)
    short.option_strings = action.option_strings[:1]
    if action.nargs != 0 and not action.choices:
        short.metavar = {int: "N", float: "X"}.get(action.type, "NAME")  # type: ignore[call-overload]
    return short


def _names(cls: Any) -> set[str]:
    return {f.name for f in fields(cls) if f.init}


def _read_yaml(path: Path, defaults: Path) -> dict[str, Any]:
    if not path.is_file() and not path.is_absolute():  # after `pip install`, recipes/NAME.yaml is the package's
        path = next((p for p in (defaults.parent / path, defaults.parent.parent / path) if p.is_file()), path)
    if not path.is_file():
        raise NotFoundError(f"no configuration file {path}; the first argument is a YAML file, all others are --flags")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold `key: value` lines, found a {type(values).__name__}")
    known = set().union(*map(_names, CLASSES))
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"{path}: unknown key(s) {', '.join(unknown)}; see --help for those there are")
    return values


def _make(cls: Any, values: Mapping[str, Any]) -> Any:
    try:
        return cls(**{name: value for name, value in values.items() if name in _names(cls)})
    except ConfigError:
        raise
    except (ValueError, TypeError, ImportError) as error:  # transformers', of settings that do not go together
        raise ConfigError(" ".join(str(error).split())) from error


def _check(config: Config) -> None:
    stage, data, args, wanted = config.stage, config.data, config.training, _VIEWS[config.stage]
    config.run.policy()
    if data.pairs and stage != "stage_b":
        raise ConfigError(f"pairs are mixed into stage B, not into {stage}; pairs alone are the recipe plain_pairs")
    wrong = [view for view in args.views if view not in wanted]
    if wrong:
        raise ConfigError(f"{stage} has no view {', '.join(wrong)}; choose of {', '.join(wanted)}")
    if (PAIR in args.views) != bool(data.pairs):
        raise ConfigError(
            "the view pair and your pairs go together: --pairs NAME --views forward reversed overlay pair"
        )
    if args.plain_share and stage != "stage_b":
        raise ConfigError(f"plain_share is about how stage B says order; {stage} says none: set it to 0")
    if args.push_to_hub and not args.hub_model_id:
        raise ConfigError("push_to_hub needs a name: --hub_model_id USER/NAME, or NAME in your own namespace")
    check_training(args)
