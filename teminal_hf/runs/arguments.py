"""What a recipe can be told: a YAML file gives defaults, flags override, unknown keys fail."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from teminal_hf.data.captions import SEQUENCE_CONNECTIVES
from teminal_hf.data.builder import split_folds
from teminal_hf.models.checkpoint import CLAP_MINI
from teminal_hf.clips.sources import SOUND_BANK, ClipTable, load_clips
from teminal_hf.models.stages import StagePolicy
from teminal_hf.data.zste_items import ZSTE_TASKS
from teminal_hf.models.split import Cut
from teminal_hf.training.config import TeminalConfig


def _field(help: str, default: Any) -> Any:
    if isinstance(default, tuple):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass
class DataArguments:
    """Where clips come from and how groups are made of them."""

    data_dir: str | None = _field("ESC-50 folder, with audio/ and meta/", None)
    source: str | None = _field('"soundbank" (default without data_dir), or a Hub or local data set', None)
    audio_column: str = _field("audio column of a data set", "audio")
    label_column: str = _field("label column of a data set", "category")
    fold_column: str | None = _field("fold column of a data set, if it has one", "fold")
    text_column: str = _field("caption column, of plain pairs and of pairs mixed in", "text")
    pairs: str | None = _field("your own audio-caption pairs, to mix into stage B: a Hub or local data set", None)
    pairs_audio_column: str = _field("audio column of these pairs", "audio")
    clips_per_class: int = _field("clips per class and fold of the sound bank", 12)
    train_folds: list[int] | None = _field("default: all but the last two", None)
    validation_folds: list[int] | None = _field("default: the last but one", None)
    test_folds: list[int] | None = _field("default: the last", None)
    n_groups: int = _field("groups in the training manifest", 2000)
    groups_seed: int = _field("seed of the manifest", 0)
    connectives: list[str] = _field("how stage B says order; repeat one to say it more often", SEQUENCE_CONNECTIVES)
    gap: float = _field("seconds of silence between two sounds", 0.0)
    crossfade: float = _field("seconds of overlap of two sounds in sequence", 0.0)

    @property
    def place(self) -> str:
        """Where the clips come from, in one word."""
        return self.data_dir or self.source or SOUND_BANK

    def clips(self) -> ClipTable:
        return load_clips(
            self.source,
            self.data_dir,
            audio_column=self.audio_column,
            label_column=self.label_column,
            fold_column=self.fold_column,
            clips_per_class=self.clips_per_class,
        )

    def folds(self, clips: ClipTable) -> dict[str, tuple[int, ...]]:
        chosen = (self.train_folds, self.validation_folds, self.test_folds)
        return split_folds(clips, *(None if folds is None else tuple(folds) for folds in chosen))


@dataclass
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
    def cut(self) -> Cut | None:
        """Where the cached prefix ends; None without a cache."""
        return self.policy().cut if self.cache_prefix else None

    def policy(self) -> StagePolicy:
        if self.tuning not in ("full", "lora"):
            raise ValueError(f'unknown tuning {self.tuning!r}; choose "full" or "lora"')
        return StagePolicy(
            audio_blocks=self.audio_blocks,
            text_layers=self.text_layers,
            text_pooler=self.text_pooler,
            projections=self.projections,
            tuning="lora" if self.tuning == "lora" else "full",
            lora_rank=self.lora_rank,
        )


@dataclass(frozen=True)
class Config:
    """All of a recipe's arguments; `given` are those that differ from the classes' defaults."""

    data: DataArguments
    run: RunArguments
    training: TeminalConfig
    given: dict[str, Any]


def parse(argv: Sequence[str], defaults: Path) -> Config:
    """Read `[CONFIG.yaml] [--flag value ...]`; without a YAML file, `defaults`.

    Raises:
        ValueError: unknown key in the YAML file; unknown flags end the program with a usage message.
        FileNotFoundError: no such YAML file.
    """
    arguments = list(argv)
    path = Path(arguments.pop(0)) if arguments and not arguments[0].startswith("-") else defaults
    if not path.is_file() and not path.is_absolute():  # after `pip install`, recipes/NAME.yaml is the package's
        path = next((p for p in (defaults.parent / path, defaults.parent.parent / path) if p.is_file()), path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no configuration file {path}; the first argument is a YAML file, all others are --flags"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold `key: value` lines, found a {type(values).__name__}")
    classes = (DataArguments, RunArguments, TeminalConfig)
    known = {f.name for cls in classes for f in fields(cls) if f.init}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{path}: unknown key(s) {', '.join(unknown)}; see --help for those there are")
    parser = HfArgumentParser(classes, allow_abbrev=False)  # type: ignore[arg-type]
    parser.set_defaults(**{"output_dir": "", **values})
    data, run, training = parser.parse_args_into_dataclasses(arguments)
    base = {**asdict(DataArguments()), **asdict(RunArguments())}
    given = {k: v for k, v in {**asdict(data), **asdict(run)}.items() if v != base[k]}
    plain = training.to_dict()  # enums as their values
    given |= {k: plain[k] for k in (*values, *_flags(arguments)) if k in plain and k not in base}
    for place in ("output_dir", "resume", "hub_token"):  # of this run, or a secret; the rest runs it again
        given.pop(place, None)
    return Config(data, run, training, given)


def _flags(arguments: Sequence[str]) -> list[str]:
    return [argument[2:].split("=")[0].replace("-", "_") for argument in arguments if argument.startswith("--")]
