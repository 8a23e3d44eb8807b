"""Arguments of a recipe: a YAML file gives defaults, flags override, unknown keys fail."""

import argparse
import copy
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import transformers
from transformers import HfArgumentParser, TrainingArguments

from teminal_hf.clips.folds import split_folds
from teminal_hf.clips.sources import ClipSource
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.captions import OVERLAP_CONNECTIVES, SEQUENCE_CONNECTIVES
from teminal_hf.data.views import PAIR, STAGE_B_VIEWS
from teminal_hf.data.zste_items import ZSTE_TASKS
from teminal_hf.errors import ConfigError
from teminal_hf.models.checkpoint import CLAP_MINI
from teminal_hf.models.stages import StagePolicy
from teminal_hf.models.towers import SplitPoint
from teminal_hf.order_tests.tacos import MARGIN, TACOS
from teminal_hf.runs import run_folder
from teminal_hf.runs.checks import check, check_given, check_phases, check_resumed
from teminal_hf.runs.yaml_file import PHASES, compose, keys, read_yaml, true_false_or_auto
from teminal_hf.training.config import TeminalConfig

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
    streaming: bool = _field("read plain pairs in passing: parquet or tar shards", False)
    shuffle_buffer: int = _field("of a stream: rows among which a reader draws", 256)
    margin: float = _field("of tacos: seconds between two sounds, at least", MARGIN)
    train_folds: list[int] | None = _field("default: all but the last two", None)
    validation_folds: list[int] | None = _field("default: the last but one", None)
    test_folds: list[int] | None = _field("default: the last", None)
    n_groups: int = _field("groups in the training manifest", 2000)
    groups_seed: int = _field("seed of the manifest", 0)
    reference: str | None = _field("recordings of the reference set (default: training clips; pairs: soundbank)", None)
    reference_size: int | None = _field("recordings in it (default: three for each clip, 3,600 at most)", None)
    connectives: list[str] = _field(
        'how stage B says order; repeat one to say it more often; "all": every phrasing, "families": each family',
        SEQUENCE_CONNECTIVES,
    )
    overlap_connectives: list[str] = _field("how stage B says that sounds are heard at once", OVERLAP_CONNECTIVES)
    leave_out: list[str] = _field("families of connectives to leave out", ())
    positions: float = _field("share of stage B's sequences of which one sound's place alone is said, 0 to 1", 0.0)
    augment: bool = _field("vary training clips: speed, colour, noise, length", False)
    left_out_classes: list[str] = _field("classes to keep out of training, for R0", ())
    gap: float = _field("seconds of silence between two sounds", 0.0)
    crossfade: float = _field("seconds of overlap of two sounds in sequence", 0.0)

    def folds(self, clips: ClipTable) -> dict[str, tuple[int, ...]]:
        """Folds of each split, as `split_folds` gives them.

        Raises:
            ConfigError: classes to leave out that there are not.
        """
        if unknown := [name for name in self.left_out_classes if name not in clips.classes]:
            there = ", ".join(clips.classes)
            raise ConfigError(f"left_out_classes: there is no {', '.join(unknown)}; choose of {there}")
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
    cache_prefix: bool | None = _field(
        'compute the frozen layers once, keep their output on disk: true, false or "auto"', None
    )
    cache_dtype: str = _field('of that output: "float16", "bfloat16" or "float32"', "float16")
    resume: bool = _field("go on with the run in output_dir", False)
    eval_groups: int = _field("ZSTE groups at each evaluation during training", 100)
    eval_tasks: list[str] = _field("ZSTE tasks at each evaluation", ("1", "3A", "3B", "3O", "5A", "8", "G"))
    report_groups: int | None = _field("ZSTE groups of the final table (default: one per test clip)", None)
    report_tasks: list[str] = _field("ZSTE tasks of the final table", ZSTE_TASKS)
    families: list[str] = _field("families of wordings asked apart (default: those left out)", ())
    retrieval: bool = _field(
        "ask in the final table for captions of recordings, and recordings of captions, too", False
    )
    known: list[str] = _field("further folders or data sets of sounds that R0 of the final table asks about", ())
    known_names: list[str] = _field("R0's candidate names for these (default: each one's own classes)", ())
    report_seed: int = _field("seed of the ZSTE items", 0)

    @property
    def split_point(self) -> SplitPoint | None:
        """Where the cached prefix of an evaluation ends; None without a cache. "auto" has one: the base and what became
        of it share it."""
        return None if self.cache_prefix is False else self.policy().split_point

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
    phase: str = ""
    phases: tuple["Config", ...] = ()  # named, one after another; none where there is one only

    @property
    def parts(self) -> tuple["Config", ...]:
        """What is trained, one after another."""
        return self.phases or (self,)

    @property
    def output_dir(self) -> str | None:
        """The run's folder, if one is named."""
        return self.training.output_dir or None

    @property
    def validates(self) -> bool:
        """Whether there are evaluations during training."""
        return self.training.eval_strategy != "no"

    def training_arguments(self, folder: Path, hub_model_id: str | None, *, last: bool = True) -> TeminalConfig:
        """What the trainer is given: as configured, in this folder; only the last phase is pushed. Reading the cache is
        cheaper than handing batches between processes, so there are workers only without it."""
        args = self.training if last else replace(self.training, push_to_hub=False)
        if self.run.cache_prefix is False:
            return replace(args, output_dir=str(folder), hub_model_id=hub_model_id)
        none: dict[str, Any] = {"num_workers": 0, "prefetch_factor": None, "persistent_workers": False}
        none |= {"multiprocessing_context": None} if hasattr(args, "dataloader_multiprocessing_context") else {}
        workers = {f"dataloader_{name}": value for name, value in none.items()}
        return replace(args, output_dir=str(folder), hub_model_id=hub_model_id, **workers)


def read_config(stage: str, argv: Sequence[str], defaults: Path) -> Config:
    """The configuration of a recipe from `[CONFIG.yaml] [--flag value ...]`; without a YAML file from `defaults`, with
    `--resume` from the run's own.

    Raises:
        ConfigError: an unknown key in the YAML file, values that make no sense; unknown flags end the program with a
            usage message.
        NotFoundError: no such YAML file, or nothing to resume.
        TakenError: the folder holds another run.
    """
    with _naming_file(argv, defaults):
        return _read_config(stage, argv, defaults)


def _read_config(stage: str, argv: Sequence[str], defaults: Path) -> Config:
    config = parse(stage, argv, defaults)
    run_folder.check_folder(stage, config.output_dir, config.run.resume)
    if config.run.resume:  # as it was configured, whatever the defaults are by now
        folder = Path(str(config.output_dir))
        config = parse(stage, argv, folder / run_folder.CONFIG)
        check_resumed(config.given, folder, argv)
    for part in config.parts:
        check(part)
    return config


@contextmanager
def _naming_file(argv: Sequence[str], defaults: Path) -> Iterator[None]:
    """What is wrong with a key of the YAML file that is named comes with the file, unless a flag has set it."""
    try:
        yield
    except ConfigError as error:
        path = next((part for part in argv[:1] if not part.startswith("-")), None)
        found = _find(Path(path), defaults) if path else None
        if path is None or found is None or not found.is_file() or path in str(error):
            raise
        flags = {part.lstrip("-").partition("=")[0].removeprefix("no_") for part in argv if part.startswith("--")}
        if (keys(compose(found)) - flags) & set(re.findall(r"\w+", str(error))):
            raise type(error)(f"{path}: {error}") from error
        raise


def parse(stage: str, argv: Sequence[str], defaults: Path) -> Config:
    """As `read_config`, whatever the run's folder holds."""
    arguments = list(argv)
    path = Path(arguments.pop(0)) if arguments and not arguments[0].startswith("-") else defaults
    parser = build_parser(stage)
    # The first of a name's flags; the others are --no_NAME. Help is no setting.
    actions = {action.dest: action for action in reversed(parser._actions) if action.dest != "help"}
    annotations = {name: hint for cls in CLASSES for name, hint in get_type_hints(cls).items()}
    values = read_yaml(_find(path, defaults), actions, annotations)
    flags = vars(parser.parse_args(arguments))
    if which := flags.pop("help", None):
        print_help(parser, which)
        sys.exit()
    # Flags override in every phase, too.
    phases = {
        name: {key: value for key, value in settings.items() if key not in flags}
        for name, settings in values.pop(PHASES, {}).items()
    }
    check_phases(phases)
    given = {**values, **flags}
    config = _resolve(stage, given)
    if not phases:
        return config
    of_phases = tuple(replace(_resolve(stage, given | phases[name]), phase=name) for name in phases)
    return replace(config, given={**config.given, PHASES: phases}, phases=of_phases)


def _resolve(stage: str, given: Mapping[str, Any]) -> Config:
    _check_json(given)
    resolved = {**given, "output_dir": given.get("output_dir") or ""}  # transformers' default is a folder
    mixed = given.get("pairs") and not given.get("streaming")  # streamed pairs are no view: they come beside the groups
    if mixed and stage == "stage_b" and PAIR not in given.get("views", ()):
        resolved["views"] = [*given.get("views", STAGE_B_VIEWS), PAIR]
    if stage == "plain_pairs" and given.get("source") == TACOS and given.get("views", ["forward"]) == ["forward"]:
        resolved["views"] = list(STAGE_B_VIEWS)  # the recipe's own one view teaches no order
    check_given(resolved)
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
        if action.dest == "cache_prefix":
            action.type, action.nargs, action.const = true_false_or_auto, "?", True
    parser.add_argument("--no_cache_prefix", action="store_false", dest="cache_prefix", default=argparse.SUPPRESS)
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


def _find(path: Path, defaults: Path) -> Path:
    """After `pip install`, recipes/NAME.yaml is the package's."""
    if path.is_file() or path.is_absolute():
        return path
    return next((p for p in (defaults.parent / path, defaults.parent.parent / path) if p.is_file()), path)


def _check_json(values: Mapping[str, Any]) -> None:
    """Raise a ConfigError that names a setting whose JSON cannot be read; transformers would not name it."""
    for name, value in values.items():
        if isinstance(value, str) and (value.lstrip().startswith("{") or name.endswith("_kwargs")):
            try:
                found = json.loads(value)
            except ValueError as error:
                raise ConfigError(f'{name} must be JSON, such as {{"key": 1}}, got {value!r} ({error})') from error
            if not isinstance(found, dict):
                raise ConfigError(f'{name} must be a JSON object, such as {{"key": 1}}, got {value!r}')


def _make(cls: Any, values: Mapping[str, Any]) -> Any:
    try:
        return cls(**{name: value for name, value in values.items() if name in _names(cls)})
    except ConfigError:
        raise
    except (ValueError, TypeError, ImportError) as error:  # transformers', of settings that do not go together
        raise ConfigError(" ".join(str(error).split())) from error
