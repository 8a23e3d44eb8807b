"""The starting point of a run, its history, and what its record says of both."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download

from teminal_hf.data.captions import (
    CONNECTIVES,
    ORDER_FAMILIES,
    OVERLAP_CONNECTIVES,
    SEQUENCE_CONNECTIVES,
    Relation,
    phrasings,
)
from teminal_hf.errors import ConfigError
from teminal_hf.hub.cards import is_local, public_name
from teminal_hf.models.checkpoint import CLAP_MINI
from teminal_hf.models.stages import Trainable
from teminal_hf.runs import run_folder
from teminal_hf.runs.arguments import Config, DataArguments
from teminal_hf.runs.training_data import TrainingData
from teminal_hf.runs.yaml_file import PHASES

logger = logging.getLogger(__name__)

Folds = Mapping[str, Sequence[int]]
_RELATIONS: dict[str, Relation] = {"connectives": "sequence", "overlap_connectives": "overlap"}


@dataclass(frozen=True)
class StartingPoint:
    """The checkpoint to train; `base` is the one that it all began with: what figures are compared with, and what a
    card names; `history` are the records of the stages before, oldest first."""

    checkpoint: str
    base: str
    history: Sequence[Mapping[str, Any]]


def starting_point(config: Config, folds: Folds | None = None) -> StartingPoint:
    """The base, stage A's output, or what is named; said aloud.

    Args:
        folds: of each split; stage A's output must not have been trained on those that are to judge.

    Raises:
        ConfigError: earlier stages trained on what this run is to be judged on.
    """
    run, stage = config.run, config.stage
    if run.resume and config.output_dir:
        record = run_folder.read_record(config.output_dir)
        start = StartingPoint(record["started_from"], record["base"], record.get("history", []))
    elif run.start_from not in ("auto", "base"):
        logger.info("%s starts from %s", stage, run.start_from)
        base = str(_record_of(run.start_from).get("base", run.start_from))
        start = StartingPoint(run.start_from, base, history_of(run.start_from))
    else:
        found, missing = None, ""
        if stage == "stage_b" and run.start_from == "auto" and folds is not None:
            unseen = (*folds.get("validation", ()), *folds.get("test", ()))
            found = run_folder.find_stage_a(
                config.output_dir, run.model, config.data.name, unseen, config.data.left_out_classes
            )
            missing = " (no finished stage A of this base, these clips and folds found)"
        if found is None:
            logger.info("%s starts from the base checkpoint %s%s", stage, run.model, missing)
        else:
            logger.info("%s starts from stage A's output %s", stage, found)
        checkpoint = run.model if found is None else str(found)
        start = StartingPoint(checkpoint, run.model, history_of(checkpoint))
    _check_unseen(start.history, config.data, folds or {})
    return start


def facts_of(config: Config, start: StartingPoint, trainable: Trainable, data: TrainingData) -> dict[str, Any]:
    """What a run's record says of it from its beginning."""
    source = config.data.name
    return {
        "stage": config.stage,
        "source": source,
        "folds": data.folds,
        "base": start.base,
        "started_from": start.checkpoint,
        "seed": config.training.seed,
        "trained": {"count": trainable.count, "total": trainable.total, "share": trainable.share},
        "trained_tensors": list(trainable.names),
        "processes": config.training.world_size,
        "threads": torch.get_num_threads(),
        "settings": {name: _without_paths(value) for name, value in config.given.items()},
        # What these were, as a card may say it: later, or elsewhere, a path cannot be told from a name on the Hub.
        "base_on_hub": None if start.base == CLAP_MINI or is_local(start.base) else start.base,
        "base_name": _described(start.base),
        "source_name": _described(source),
        "pairs_name": _described(config.data.pairs) if config.data.pairs else "",
        "licence": data.licence,
        "history": list(start.history),
        "complete": False,
    }


def trained_connectives(record: Mapping[str, Any]) -> set[str] | None:
    """What a run and the stages before it said order and overlap with, by their records; None without one."""
    said: set[str] = set()
    for facts in (*record.get("history", ()), record):
        if facts.get("stage") != "stage_b":
            continue
        settings = facts["settings"]
        for phase in settings.get(PHASES, {"": {}}).values():
            drawn = {"connectives": SEQUENCE_CONNECTIVES, "overlap_connectives": OVERLAP_CONNECTIVES} | settings | phase
            for name, relation in _RELATIONS.items():
                said.update(*phrasings(drawn[name], relation, drawn.get("leave_out", ())))
            said |= {"before"} if drawn.get("plain_share") else set()
    return said if record else None


def left_out_families(record: Mapping[str, Any]) -> list[str]:
    """The families of connectives of order that a run's settings, or one of its phases', leave out, and that neither it
    nor a stage before it said order with."""
    settings = record.get("settings", {})
    asked = {name for part in (settings, *settings.get(PHASES, {}).values()) for name in part.get("leave_out", ())}
    said = {CONNECTIVES[name].family for name in trained_connectives(record) or ()}
    return [family for family in ORDER_FAMILIES if family in asked - said]


def _without_paths(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_paths(each) for each in value]
    return public_name(value) if isinstance(value, str) else value


def _described(name: str) -> str:
    return f"{public_name(name)} (a local folder)" if is_local(name) else name


def _check_unseen(history: Sequence[Mapping[str, Any]], data: DataArguments, folds: Folds) -> None:
    """Raise a ValueError if earlier stages trained on what this run is to be judged on."""
    of_source = [facts for facts in history if facts["source"] == data.name]
    trained = {fold for facts in of_source for fold in facts["folds"].get("train", ())}
    judged = sorted(trained & {*folds.get("validation", ()), *folds.get("test", ())})
    if judged:
        raise ConfigError(
            f"the start was trained on fold(s) {judged}, which this run is to be judged on; choose others"
        )
    left_out = set(data.left_out_classes)
    heard = sorted({name for facts in of_source for name in left_out - run_folder.left_out(facts)})
    if heard:
        raise ConfigError(
            f"the start was trained on {', '.join(heard)}, which left_out_classes keeps out of this run; train what it "
            "starts from with the same left_out_classes, or start from the base (--start_from base)"
        )


def history_of(start: str) -> list[dict[str, Any]]:
    """What is known of the stages before this one, oldest first: their folders may be gone when a card is written."""
    before = _record_of(start)
    of_data = ("source", "source_name", "pairs_name", "licence", "folds")
    of_training = ("stage", "seed", "settings", "trained", "trained_tensors", "steps", "train_seconds")
    facts = {name: before[name] for name in (*of_data, *of_training) if name in before}
    return [*before.get("history", ()), facts] if before else []


def _record_of(start: str) -> dict[str, Any]:
    """Of a run; of a phase of one, which may be started from too, the run's with the phases up to it."""
    if record := run_folder.read_record(start):
        return record
    folder = Path(start)
    run = run_folder.read_record(folder.parent)
    settings = run.get("settings", {})
    names = list(settings.get(PHASES, {}))
    if folder.name not in names:
        return {}
    phases = {name: settings[PHASES][name] for name in names[: names.index(folder.name) + 1]}
    return run | {"settings": settings | {PHASES: phases}}


def recorded_base(model: str) -> str:
    """What the run.json beside a checkpoint, here or on the Hub, says it started from.

    Raises:
        ConfigError: there is none, or it names a checkpoint that was on somebody's machine.
    """
    if model == CLAP_MINI:
        return CLAP_MINI
    base = _record_of(model).get("base")
    if base is None and not Path(model).exists():
        try:
            base = run_folder.read_record(Path(hf_hub_download(model, run_folder.RECORD)).parent)["base"]
        except (OSError, ValueError):  # no such model, or none of ours
            base = None
        base = base if base == CLAP_MINI or "/" in (base or "") else None  # else it was on somebody's machine
    if base is None:
        raise ConfigError(f"nothing says what {model} was trained from: name a checkpoint to compare it with by --base")
    return str(base)
