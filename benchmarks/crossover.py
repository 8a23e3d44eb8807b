"""From how many epochs on does the cache pay? Stage B's steps with it and without, for models of several sizes.

    python benchmarks/crossover.py --checkpoint BASE --threads 1

Draws docs/crossover.png. Time is CPU time, from the first look at the cache to the last step: the first pass, its
writing and checks are in it, loading and the final table are not. The crossover is read off the two lines, through the
fewest and the most epochs.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

from harness import HERE, WORK, Results, arguments, measure
from job import random_laion

FOLDER = WORK / "crossover"
WAYS = {"cached": "true", "recomputed": "false"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--checkpoint", help="a further model: a folder or Hub id")
    parser.add_argument("--laion", action="store_true", help="and one of laion's size, with random weights")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 2, 5])
    args = parser.parse_args(argv)
    models = {"clap-mini, 2.4 M": ("clap-mini", 32)}
    if args.smoke:
        models = {"clap-mini, 2.4 M": ("clap-mini", 8)}
        args.epochs = [1]
    else:
        if args.checkpoint:
            models["25.7 M"] = (args.checkpoint, 16)
        if args.laion:
            models["153.5 M"] = (random_laion(WORK / "laion-random"), 8)
    results = Results(args.threads)
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for name, (model, groups) in models.items():
        curves[name] = {way: [] for way in WAYS}
        for epochs in args.epochs:
            for way, value in WAYS.items():
                seconds = one(model, groups, epochs, value, args.threads)
                curves[name][way].append((epochs, seconds))
            ours, theirs = (curves[name][way][-1][1] for way in WAYS)
            results.add(f"crossover/{name}/epochs={epochs}", ours, "s CPU", theirs)
        if len(args.epochs) > 1:
            results.add(f"crossover/{name}", crossing(*curves[name].values()), "epochs")
        if not args.smoke:
            results.save()
            draw(curves, HERE.parent / "docs" / "crossover.png")


def one(model: str, groups: int, epochs: int, cached: str, threads: int) -> float:
    """Seconds of the steps, with their first pass."""
    shutil.rmtree(FOLDER / "cache" / "prefix", ignore_errors=True)
    shutil.rmtree(FOLDER / "run", ignore_errors=True)
    flags = [f"--model={model}", f"--n_groups={groups}", f"--num_train_epochs={epochs}", f"--cache_prefix={cached}"]
    flags += ["--per_device_train_batch_size=8", "--clips_per_class=2", "--start_from=base", "--test_folds=4"]
    flags += ["--views", "forward", "reversed", "overlay", "--retention=0", "--mixture=0", "--report_groups=2"]
    flags += ["--report_tasks=3O"]
    found = measure([sys.executable, str(Path(__file__).resolve()), "--one", *flags], threads)
    return float(found.report["seconds"])


def crossing(cached: Sequence[tuple[int, float]], recomputed: Sequence[tuple[int, float]]) -> float:
    """Where two straight lines meet, each through its first and its last point."""
    (slope, at_zero), (other_slope, other_at_zero) = (_line(points[0], points[-1]) for points in (cached, recomputed))
    return (at_zero - other_at_zero) / (other_slope - slope)


def _line(first: tuple[float, float], last: tuple[float, float]) -> tuple[float, float]:
    slope = (last[1] - first[1]) / (last[0] - first[0])
    return slope, first[1] - slope * first[0]


def draw(curves: dict[str, dict[str, list[tuple[int, float]]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(curves), figsize=(3.4 * len(curves), 3.1), squeeze=False)
    for panel, (name, ways) in zip(panels[0], curves.items(), strict=True):
        for way, points in ways.items():
            panel.plot(*zip(*points, strict=True), marker="o", label=way)
        panel.axvline(crossing(*ways.values()), color="grey", linestyle=":", label="crossover")
        panel.set(title=name, xlabel="epochs", ylim=(0, None))
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("CPU seconds, first pass and steps")
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


class TrainedError(Exception):
    """The rest of the recipe is of no interest here."""


def in_this_process(flags: Sequence[str]) -> dict[str, Any]:
    from teminal_hf.commands.cli import main as teminal
    from teminal_hf.runs.run import Run
    from teminal_hf.training.trainer import TeminalTrainer

    os.environ["TEMINAL_CACHE"] = str(FOLDER / "cache")
    marks = []
    begin, train = Run.begin, TeminalTrainer.train

    def marked_begin(*args: Any) -> None:
        begin(*args)
        marks.append(time.process_time())

    def marked_train(*args: Any, **kwargs: Any) -> None:
        train(*args, **kwargs)
        marks.append(time.process_time())
        raise TrainedError

    with (
        mock.patch.object(Run, "begin", marked_begin),
        mock.patch.object(TeminalTrainer, "train", marked_train),
        suppress(TrainedError),
    ):
        teminal(["train", "stage_b", *flags, f"--output_dir={FOLDER / 'run'}"])
    return {"seconds": marks[1] - marks[0]}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(in_this_process(sys.argv[2:])))
    else:
        main()
