"""A finished run on the Hub: weights, processor, card, figures, configuration as run."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

from teminal_hf.errors import DataError
from teminal_hf.hub.cards import CARD, public_name
from teminal_hf.hub.push import CHECKPOINT_FILES, make_repo, push_folder, try_again
from teminal_hf.runs import run_folder
from teminal_hf.runs.arguments import Config
from teminal_hf.runs.model_card import write_card
from teminal_hf.runs.yaml_file import as_yaml, read_mapping
from teminal_hf.storage.records import read_json

logger = logging.getLogger(__name__)

RUN_FILES = (*CHECKPOINT_FILES, CARD, "config.yaml", "run.json", "log.json", "zste.json", "zste.png")


def open_repository(config: Config) -> str | None:
    """The repository that a run pushes to, made before the training, when a missing login can still be mended; its full
    name, or None if nothing is pushed."""
    args = config.training
    if not args.push_to_hub or args.process_index != 0:
        return args.hub_model_id
    return make_repo(
        str(args.hub_model_id), "model", private=args.hub_private_repo, token=args.hub_token, revision=args.hub_revision
    )


def publish(config: Config, folder: Path, repo_id: str | None) -> None:
    """Push the finished run in `folder` if its configuration says so; errors as of `push_run`."""
    args = config.training
    if args.push_to_hub:
        address = push_run(
            folder, str(repo_id), private=args.hub_private_repo, token=args.hub_token, revision=args.hub_revision
        )
        logger.info("pushed to %s", address)


def push_run(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
) -> str:
    """Push a finished run: weights, processor, card (which names the repository), figures, configuration as run (of
    paths of this machine the last part alone, and without what pushes it).

    Raises:
        DataError: no finished run, or a processor that would tile short recordings.
        PushError: as `push_folder`.
    """
    folder = Path(folder)
    if not run_folder.has_weights(folder):
        raise DataError(f"{folder} holds no finished run (model.safetensors, and {run_folder.RECORD} that says so)")
    extractor = read_json(folder / "processor_config.json", {"feature_extractor": {}})["feature_extractor"]
    if extractor.get("padding", "pad") != "pad":  # PE-Audio's has none
        raise DataError(
            f"the processor in {folder} has padding={extractor.get('padding')!r}, which tiles short recordings and "
            'destroys their order; save it with padding="pad" (save_checkpoint does)'
        )
    config = read_mapping(folder / run_folder.CONFIG)
    command = ["teminal", "push", folder.as_posix(), "--to", repo_id, *(["--private"] if private else [])]
    retry = try_again(folder, *command, *(["--revision", revision] if revision else []))
    record = run_folder.as_complete(run_folder.read_record(folder))  # the push is the last step
    config = {name: value for name, value in config.items() if not name.startswith(("push_to_hub", "hub_"))}
    instead = {
        run_folder.RECORD: (json.dumps(_without_paths(record), indent=1) + "\n").encode(),
        run_folder.CONFIG: as_yaml(_without_paths(config)).encode(),
    }
    return push_folder(
        folder,
        repo_id,
        "model",
        RUN_FILES,
        retry=retry,
        private=private,
        token=token,
        revision=revision,
        instead=instead,
        prepare=partial(write_card, folder),
    )


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_paths(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_paths(inner) for inner in value]
    return public_name(value) if isinstance(value, str) else value
