"""Where a run came from, as its record keeps it and its card says it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from teminal_hf.runs import run_folder
from teminal_hf.hub.cards import is_local, public_name
from teminal_hf.runs.arguments import Config
from teminal_hf.models.checkpoint import CLAP_MINI
from teminal_hf.models.stages import Trainable


def facts_of(
    stage: str, config: Config, start: str, trainable: Trainable, folds: Mapping[str, Sequence[int]]
) -> Mapping[str, Any]:
    """What a run's record says of it from its beginning."""
    return {
        "stage": stage,
        "source": config.data.place,
        "folds": folds,
        "base": config.run.model,
        "started_from": start,
        "seed": config.training.seed,
        "trained": {"count": trainable.count, "total": trainable.total, "share": trainable.share},
        "trained_tensors": list(trainable.names),
        "processes": config.training.world_size,
        "threads": torch.get_num_threads(),
        "settings": {k: public_name(v) if isinstance(v, str) else v for k, v in config.given.items()},
        # What these were, as a card may say it: later, or elsewhere, a path cannot be told from a name on the Hub.
        "base_on_hub": None if config.run.model == CLAP_MINI or is_local(config.run.model) else config.run.model,
        "base_name": _named(config.run.model),
        "source_name": _named(config.data.place),
        "pairs_name": _named(config.data.pairs) if config.data.pairs else "",
        "complete": False,
    }


def _named(name: str) -> str:
    return f"{public_name(name)} (a local folder)" if is_local(name) else name


def base_of(config: Config, start: str) -> str:
    """The checkpoint that it all began with: what figures are compared with, and what a card names."""
    if config.run.resume:
        return str(run_folder.read_record(str(config.training.output_dir))["base"])
    if config.run.start_from in ("auto", "base"):
        return config.run.model
    return str(run_folder.read_record(start).get("base", start))


def check_unseen(history: Sequence[Mapping[str, Any]], source: str, folds: Mapping[str, Sequence[int]]) -> None:
    """Raise a ValueError if earlier stages trained on what this run is to be judged on."""
    trained = {fold for facts in history if facts["source"] == source for fold in facts["folds"].get("train", ())}
    judged = sorted(trained & {*folds.get("validation", ()), *folds.get("test", ())})
    if judged:
        raise ValueError(f"the start was trained on fold(s) {judged}, which this run is to be judged on; choose others")


def history_of(start: str) -> list[dict[str, Any]]:
    """What is known of the stages before this one, oldest first: their folders may be gone when a card is written."""
    before = run_folder.read_record(start)
    of_data = ("source", "source_name", "pairs_name", "licence", "folds")
    of_training = ("stage", "seed", "settings", "trained", "trained_tensors", "steps", "train_seconds")
    facts = {name: before[name] for name in (*of_data, *of_training) if name in before}
    return [*before.get("history", ()), facts] if before else []
