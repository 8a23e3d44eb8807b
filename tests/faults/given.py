"""What a command is given besides words: files and folders, whole and damaged, and YAML files for a stage B run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# What is to come of an input: a message; the end of the program's work; one of the two; or, of `doctor`, a problem.
MESSAGE, WORKS, EITHER, PROBLEM = "message", "works", "message or works", "problem"

Prepare = Callable[[Path, Path], None]  # the folder that the command runs in, the undisturbed run


@dataclass(frozen=True)
class Input:
    """A command, what is to come of it, and a word that its message must have."""

    command: str
    expected: str
    word: str = ""
    prepare: Prepare = lambda folder, run: None


YAML = {
    **{"model": "clap-mini", "start_from": "base", "views": "[forward, reversed, overlay, single]", "n_groups": "8"},
    **{"max_steps": "2", "per_device_train_batch_size": "4", "clips_per_class": "2", "report_groups": "3"},
    **{"report_tasks": "['1', '3O']", "save_strategy": "'no'", "report_to": "none", "disable_tqdm": "true"},
}
TRAIN = "train stage_b config.yaml --output_dir out"


def yaml_keys(expected: str, word: str | None = None, **keys: str) -> Input:
    """Keys of a stage B file in the place of those that work; an empty one is left out."""
    lines = {**YAML, **keys}
    text = "\n".join(f"{key}: {value}" for key, value in lines.items() if value)
    return yaml_text(expected, next(iter(keys)) if word is None else word, text)


def yaml_text(expected: str, word: str, text: str | bytes, command: str = TRAIN) -> Input:
    content = text.encode() if isinstance(text, str) else text
    return Input(command, expected, word, lambda folder, run: (folder / "config.yaml").write_bytes(content) and None)


def yaml_lines(**keys: str) -> str:
    return "\n".join(f"{key}: {value}" for key, value in {**YAML, **keys}.items())


def sound(kind: str) -> Prepare:
    """`sound.wav`, of one kind."""

    def prepare(folder: Path, run: Path) -> None:
        import numpy as np
        import soundfile

        path, tone = folder / "sound.wav", 0.3 * np.sin(np.arange(32_000) / 5)
        if kind in ("text", "nothing"):
            path.write_text("<html>not found</html>" if kind == "text" else "")
        elif kind == "folder":
            path.mkdir()
        else:
            anti = np.stack([tone, -tone], axis=1)
            samples = {"tone": tone, "silence": 0 * tone, "30 ms": tone[:480], "no sample": tone[:0], "antiphase": anti}
            soundfile.write(path, samples[kind], 16_000)
            if kind == "tone":
                (folder / "other.wav").write_bytes(path.read_bytes())

    return prepare


def checkpoint(change: Callable[[Path], object]) -> Prepare:
    """`checkpoint`, a copy of clap-mini that is changed."""

    def prepare(folder: Path, run: Path) -> None:
        from teminal_hf.models.checkpoint import CLAP_MINI, checkpoint_path

        shutil.copytree(checkpoint_path(CLAP_MINI), folder / "checkpoint")
        change(folder / "checkpoint")

    return prepare


def weights(change: Callable[[dict], object]) -> Prepare:
    """Of a `_checkpoint`, the weights."""

    def edit(checkpoint: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(checkpoint / "model.safetensors")
        change(tensors)
        save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})

    return checkpoint(edit)


def without_audio(tensors: dict) -> None:
    for name in [name for name in tensors if name.startswith("audio_model.audio_encoder.layers.2")]:
        del tensors[name]


def not_a_number(tensors: dict) -> None:
    tensors["text_projection.linear1.weight"].fill_(float("nan"))


def wrong_size(tensors: dict) -> None:
    tensors["text_projection.linear1.weight"] = tensors["text_projection.linear1.weight"][:, :-1].contiguous()


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _set(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def finished_run(change: Callable[[Path], object] = lambda run: None) -> Prepare:
    """`run`, a copy of the undisturbed run that is changed."""

    def prepare(folder: Path, run: Path) -> None:
        shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns("checkpoint-*"))
        change(folder / "run")

    return prepare


def tiling(run: Path) -> None:
    path = run / "processor_config.json"
    path.write_text(path.read_text().replace('"pad"', '"repeatpad"'))


def unfinished(run: Path) -> None:
    _set(run / "run.json", complete=False, finished=[])


def in_runs(change: Callable[[Path], object]) -> Prepare:
    def prepare(folder: Path, run: Path) -> None:
        (folder / "runs").mkdir()
        finished_run(change)(folder / "runs", run)

    return prepare


def esc50(change: Callable[[str], str | bytes] = str, audio: Callable[[Path], object] = lambda folder: None) -> Prepare:
    """`ESC-50`, of which the table's text or the sounds are changed."""

    def prepare(folder: Path, run: Path) -> None:
        from support.clips import write_esc50

        table = write_esc50(folder) / "meta" / "esc50.csv"
        changed = change(table.read_text())
        table.write_bytes(changed.encode() if isinstance(changed, str) else changed)
        audio(folder / "ESC-50" / "audio")

    return prepare


def holding(*names: str) -> Prepare:
    def prepare(folder: Path, run: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("mine")

    return prepare


def both(*prepare: Prepare) -> Prepare:
    def all_of_them(folder: Path, run: Path) -> None:
        for one in prepare:
            one(folder, run)

    return all_of_them
