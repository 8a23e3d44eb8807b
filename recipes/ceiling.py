"""How much of order the frozen layers still hold: linear probes on their output, as a bound for what is trained after.

    python recipes/ceiling.py MODEL [--data_dir ESC50] [--train_folds 1 2 --validation_folds 3 --test_folds 4]
                              [--groups N] [--json FILE]

A probe is a ridge regression from a recording of X then Y to which class is first and which is second, its penalty
chosen on the validation folds. Two are compared: on all tokens at the split point, and on their mean, which is all that
the projection would see if nothing was trained before it. Asked are the recordings of ZSTE's test groups: which of the
two is first (3O), and which class of all is first, and which second (5B).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from teminal_hf.audio.log_mel import LogMel
from teminal_hf.clips.folds import split_folds
from teminal_hf.clips.table import ClipTable
from teminal_hf.commands.clips import add_clip_arguments, clip_source
from teminal_hf.commands.door import door
from teminal_hf.data.groups import plan
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.zste_items import plan_zste
from teminal_hf.evaluation.tables import Figure, Table
from teminal_hf.evaluation.zste import wilson_interval
from teminal_hf.models.checkpoint import load_clap
from teminal_hf.models.frozen_prefix import FrozenPrefix
from teminal_hf.models.stages import StagePolicy
from teminal_hf.storage.atomic import write_json

PENALTIES = tuple(10.0**power for power in range(-1, 6))  # of features scaled to unit norm on average
_BATCH = 32


def main(argv: Sequence[str]) -> None:
    """Print what each probe reaches on the test groups."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="checkpoint whose frozen layers are probed")
    for name in ("train", "validation", "test"):
        parser.add_argument(f"--{name}_folds", type=int, nargs="+")
    parser.add_argument("--groups", type=int, default=2000, help="groups to fit the probes on (2000)")
    parser.add_argument("--json", type=Path, help="write figures and every item's answer here")
    add_clip_arguments(parser)
    arguments = parser.parse_args(argv)
    clips = clip_source(arguments).load()
    asked = (arguments.train_folds, arguments.validation_folds, arguments.test_folds)
    folds = split_folds(clips, *(None if each is None else tuple(each) for each in asked))
    model, processor = load_clap(arguments.model)
    usable = clips.usable(processor.feature_extractor.sampling_rate)
    prefix = FrozenPrefix(model, StagePolicy().split_point, processor, "float32")
    settings = RenderSettings.of_extractor(processor.feature_extractor)
    parts = {name: usable.in_folds(numbers) for name, numbers in folds.items()}
    groups = {
        "train": _drawn(parts["train"], arguments.groups, seed=1),
        "validation": _drawn(parts["validation"], max(50, arguments.groups // 5), seed=2),
        "test": [(i.clip_a, i.clip_b, 0, i.group_id) for i in plan_zste(parts["test"], tasks=["3O"])],
    }
    tokens = {n: _tokens(prefix, Renderer(parts[n], settings), rows, processor, n) for n, rows in groups.items()}
    classes = usable.classes
    heard = {n: [[classes.index(parts[n].label(c)) for c in row[:2]] for row in rows] for n, rows in groups.items()}
    found = {
        "all tokens": probe({n: each.flatten(1) for n, each in tokens.items()}, heard, len(classes)),
        "their mean": probe({n: each.mean(dim=1) for n, each in tokens.items()}, heard, len(classes)),
    }
    print(table(found).markdown())
    if arguments.json:
        write_json(arguments.json, found)


def probe(features: dict[str, Tensor], heard: dict[str, list[list[int]]], n_classes: int) -> dict[str, Any]:
    """Fit on "train", choose the penalty on "validation", answer "test": {"penalty", "3O": [...], "5B": [...]}.

    Args:
        features: (recordings, F) of each part.
        heard: the classes heard first and second, of each recording of each part.
    """
    train = features["train"].float()
    mean = train.mean(dim=0)
    scale = (train - mean).norm(dim=1).mean()
    train = (train - mean) / scale
    others = {name: (features[name].float() - mean) / scale for name in ("validation", "test")}
    targets = torch.nn.functional.one_hot(torch.tensor(heard["train"]), n_classes).flatten(1).double()
    offset = targets.mean(dim=0)
    # In the dual: a recording has far more token values than there are recordings.
    gram = (train @ train.T).double()
    across = {n: (rows @ train.T).double() for n, rows in others.items()}
    best: tuple[float, float, Tensor] | None = None
    for penalty in PENALTIES:
        dual = torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=torch.double), targets - offset)
        right = np.mean(_answers(across["validation"] @ dual + offset, heard["validation"], n_classes)["3O"])
        if best is None or right > best[0]:
            best = (float(right), penalty, dual)
    assert best is not None
    return {"penalty": best[1]} | _answers(across["test"] @ best[2] + offset, heard["test"], n_classes)


def table(found: dict[str, dict[str, Any]]) -> Table:
    """A row for each probe."""
    rows: dict[str, list[Figure]] = {}
    for name, answers in found.items():
        n = len(answers["3O"])
        rows[name] = [Figure(float(np.mean(answers[t])), wilson_interval(sum(answers[t]), n)) for t in ("3O", "5B")]
    notes = [
        "Percent of the test groups, with Wilson's 95 % intervals. 3O: which of the two is first (chance 50); 5B: the",
        "mean of which class of all is first, and which second (chance 100 / classes).",
    ]
    return Table(("3O", "5B"), rows, notes, of="probe on")


def _answers(scores: Tensor, heard: Sequence[Sequence[int]], n_classes: int) -> dict[str, list[float]]:
    first, second = scores[:, :n_classes], scores[:, n_classes:]
    a, b = torch.tensor(heard).T
    rows = torch.arange(len(scores))
    order = first[rows, a] + second[rows, b] > first[rows, b] + second[rows, a]
    places = ((first.argmax(dim=1) == a).double() + (second.argmax(dim=1) == b).double()) / 2
    return {"3O": order.double().tolist(), "5B": places.tolist()}


def _drawn(clips: ClipTable, n: int, seed: int) -> list[tuple[str, str, int, int]]:
    return [(row["clip_a"], row["clip_b"], seed, row["group_id"]) for row in plan("stage_b", clips, n, seed)]


def _tokens(
    prefix: FrozenPrefix, renderer: Renderer, rows: Sequence[tuple[str, str, int, int]], processor: Any, part: str
) -> Tensor:
    """(recordings, tokens, channels), float16: of X then Y."""
    log_mel = LogMel.from_extractor(processor.feature_extractor)
    found = []
    for start in tqdm(range(0, len(rows), _BATCH), desc=f"{part} through the frozen layers", leave=False):
        sounds = [renderer.views(*row, ["forward"])["forward"] for row in rows[start : start + _BATCH]]
        features = torch.cat([log_mel(torch.from_numpy(sound)[None])[:, None] for sound in sounds])
        found.append(prefix.audio(features)[:, 0].half())
    return torch.cat(found)


if __name__ == "__main__":
    with door():
        main(sys.argv[1:])
