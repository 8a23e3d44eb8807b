"""The manifests as a data set of the Hub: parquet files and a card, whole on disk first, then pushed in one commit.

What is published loads without this package. It names clips and holds none, unless that is asked for.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datasets import Audio, Dataset, Features, Value, load_dataset_builder
from huggingface_hub import DatasetCardData

from teminal_hf.clips.esc50 import esc50_folder, esc50_sheet
from teminal_hf.clips.licences import ATTRIBUTION, kind_of_clips
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.builder import STAGES, TemporalConfig
from teminal_hf.errors import ConfigError, DataError, NotFoundError
from teminal_hf.hub.cards import CARD, CITATION, DATASET, PAPER, is_local, public_name, render_card
from teminal_hf.hub.push import check_repo_id, push_folder, try_again
from teminal_hf.storage.atomic import folder_written_whole

CLIPS = "clips"
CLIPS_PER_FILE = 400

_NON_COMMERCIAL, _ATTRIBUTION_ONLY = "CC BY-NC 3.0", "CC BY 3.0"
_CONVERT: dict[str, Any] = {"fold": int, "target": int, "src_file": int, "esc10": lambda text: text == "True"}
_TYPES = {"fold": "int64", "target": "int64", "src_file": "int64", "esc10": "bool"}  # the others are text
_OPTIONAL = ("target", "esc10", "src_file", "take")
_TITLES = {"esc50": "Temporal pairs of ESC-50", "soundbank": "Temporal pairs of a synthetic sound bank"}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

Rows = dict[str, dict[str, int]]  # {config: {split: rows}}


def write_manifests(folder: str | Path, repo_id: str, *, with_clips: bool = False, **options: Any) -> None:
    """Write the manifests and their card to `folder`, whole or not at all.

    For each config (stage_a, stage_b, zste) and split one parquet file, with the rows and features of
    `load_dataset("teminal/esc50-temporal", config, **options)` but for the rendered audio.

    Args:
        folder: a new or an empty one.
        repo_id: "owner/name", where they are to be published; the card says how to load them from there.
        with_clips: write the clips too, as config "clips"; of an ESC-50 folder (`data_dir`) alone.
        options: of `TemporalConfig`: where the clips are, seed, n_groups, folds.

    Raises:
        FileExistsError: `folder` holds something.
        ValueError: `repo_id` names no owner, or clips are asked for that are not ESC-50's.
    """
    folder = Path(folder)
    check_name(repo_id)
    with folder_written_whole(folder, f"name another --output_dir, or push what is there by --from {folder}") as draft:
        if with_clips:
            _check_clips(options.get("data_dir"))
        rows: Rows = {}
        for stage in STAGES:
            builder = load_dataset_builder(DATASET, stage, **options)  # of this package, by `register`
            builder.download_and_prepare()
            splits = builder.as_dataset()
            rows[stage] = {split: _write(manifest, draft / stage, split) for split, manifest in splits.items()}
        if with_clips:
            rows[CLIPS] = {"train": _write_clips(draft / CLIPS, Path(options["data_dir"]), builder.config.clips)}
            for name in ATTRIBUTION:
                if (Path(options["data_dir"]) / name).is_file():
                    shutil.copyfile(Path(options["data_dir"]) / name, draft / name)
        (draft / CARD).write_text(_card(draft, repo_id, builder.config, rows), encoding="utf-8")


def push_manifests(folder: str | Path, repo_id: str, *, with_clips: bool = False, private: bool | None = None) -> str:
    """Push what `write_manifests` has written, in one commit; safe to repeat. Returns the data set's address.

    Args:
        with_clips: the folder holds clips, and they are to be published.
        private: of a repository that is not there yet.

    Raises:
        ValueError: the folder holds clips and `with_clips` does not say so, or the reverse; or its card is for another
            data set.
        NotFoundError: the folder holds no card.
        PushError: it could not be pushed; the message ends with the command that tries again.
    """
    folder = Path(folder)
    check_name(repo_id)
    _check_written(folder, repo_id, with_clips)
    configs = [*STAGES, CLIPS] if with_clips else STAGES
    files = [CARD, *(f"{config}/*.parquet" for config in configs), *(ATTRIBUTION if with_clips else ())]
    flags = ["--with_clips"] * with_clips + ["--private"] * bool(private)
    retry = try_again(folder, "teminal", "data", "push", "--to", repo_id, "--from", folder.as_posix(), *flags)
    managed = [*(f"{config}/*.parquet" for config in (*STAGES, CLIPS)), *ATTRIBUTION]
    return push_folder(folder, repo_id, "dataset", files, retry=retry, private=private, managed=managed)


def check_name(repo_id: str) -> None:
    """Raise a ValueError unless it reads "owner/name"."""
    check_repo_id(repo_id)
    if "/" not in repo_id:
        raise ConfigError(f"name the data set OWNER/NAME, got {repo_id!r}: its card says how to load it from there")


def _check_written(folder: Path, repo_id: str, with_clips: bool) -> None:
    if not (folder / CARD).is_file():
        raise NotFoundError(f"{folder} holds no {CARD}: `teminal data push` without --from writes it")
    written_for = re.search(r'load_dataset\("([^"]+)"', (folder / CARD).read_text(encoding="utf-8"))
    if written_for and written_for[1] != repo_id:
        raise DataError(
            f"the card in {folder} is that of {written_for[1]}; push it there, or have it written for {repo_id} "
            "by leaving out --from"
        )
    if (folder / CLIPS).exists() != with_clips:
        raise DataError(
            f"{folder} holds no clips to publish; leave out --with_clips, or have them written by leaving out --from"
            if with_clips
            else f"{folder} holds the clips themselves, most of them {_NON_COMMERCIAL}: publish them by --with_clips"
        )


def _check_clips(data_dir: str | None) -> None:
    if data_dir is None:
        raise ConfigError("--with_clips publishes the clips of an ESC-50 folder: name it by --data_dir")
    if kind_of_clips(esc50_folder(data_dir).ids) != "esc50":
        raise DataError(
            f"--with_clips publishes ESC-50's clips under ESC-50's licences, and those of {data_dir} are not named as "
            "ESC-50's are (1-100032-A-0.wav); publish yours as a data set of their own"
        )


def _write(manifest: Dataset, folder: Path, split: str, number: int = 0, of: int = 1) -> int:
    folder.mkdir(exist_ok=True)
    manifest.with_format(None).to_parquet(folder / f"{split}-{number:05d}-of-{of:05d}.parquet")
    return len(manifest)


def _write_clips(folder: Path, root: Path, clips_of_manifests: ClipTable) -> int:
    """The clips' own bytes, as the files hold them, with what esc50.csv says of them; how many they are. Those that the
    manifests leave out (unreadable, unlabelled, of other folds) are not published."""
    rows = [row for row in esc50_sheet(root).rows if Path(row["filename"]).stem in clips_of_manifests]
    columns = ["filename", "fold", *(name for name in _OPTIONAL if name in rows[0]), "category"]
    features = Features(
        {name: Value(_TYPES.get(name, "string")) for name in columns}
        | {"audio": {"bytes": Value("binary"), "path": Value("string")}, "license": Value("string")}
    )
    starts = range(0, len(rows), CLIPS_PER_FILE)
    for number, start in enumerate(starts):  # a file at a time in memory
        part = [_clip(row, columns, root) for row in rows[start : start + CLIPS_PER_FILE]]
        clips = Dataset.from_list(part, features=features).cast_column("audio", Audio(decode=False))
        _write(clips, folder, "train", number, len(starts))
    return len(rows)


def _clip(row: Mapping[str, str], columns: Sequence[str], root: Path) -> dict[str, Any]:
    try:
        clip = {name: _CONVERT.get(name, str)(row[name]) for name in columns}
    except ValueError as error:
        raise DataError(f"meta/esc50.csv, {row['filename']}: {error}") from error
    sound = (root / "audio" / row["filename"]).read_bytes()
    licence = _ATTRIBUTION_ONLY if clip.get("esc10") else _NON_COMMERCIAL
    return clip | {"audio": {"bytes": sound, "path": row["filename"]}, "license": licence}


def _card(folder: Path, repo_id: str, config: TemporalConfig, rows: Rows) -> str:
    kind = kind_of_clips(config.clips.ids)
    name = str(config.data_dir or config.source or "")
    source = public_name(name)
    total = sum(sum(splits.values()) for splits in rows.values())
    # Manifests of somebody's own clips: what they are under is for their publisher to say.
    licence = {"esc50": "cc-by-nc-3.0" if CLIPS in rows else "apache-2.0", "soundbank": "apache-2.0", "own": None}
    data = DatasetCardData(
        language="en",
        license=licence[kind],
        pretty_name=_TITLES.get(kind, f"Temporal pairs of {source}"),
        size_categories=next((name for bound, name in _SIZES if total < bound), "1M<n<10M"),
        task_categories=["audio-classification", "zero-shot-classification"],
        tags=["audio", "clap", "contrastive", "temporal", f"arxiv:{PAPER}"],
        configs=[{"config_name": name, "data_files": _data_files(folder, name, rows[name])} for name in rows],
    )
    return render_card(
        "dataset.md.jinja",
        data,
        repo_id=repo_id,
        kind=kind,
        source=source,
        is_local=is_local(name),
        rows=rows,
        folds={split: sorted(folds) for split, folds in config.folds.items()},
        n_clips=len(config.clips),
        n_classes=len(config.clips.classes),
        config=config,
        attribution=[name for name in ATTRIBUTION if (folder / name).is_file()],
        answered_by_package=repo_id == DATASET,
        version=version("teminal_hf"),
        paper=PAPER,
        citation=CITATION.strip(),
    )


def _data_files(folder: Path, config: str, splits: Mapping[str, int]) -> list[dict[str, Any]]:
    """Every file by its name: those that an earlier push left there are no part of it."""
    found = {split: sorted((folder / config).glob(f"{split}-*.parquet")) for split in splits}
    return [{"split": split, "path": [f"{config}/{path.name}" for path in paths]} for split, paths in found.items()]
