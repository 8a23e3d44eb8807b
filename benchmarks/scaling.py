"""How the cost of stage B grows with groups, batch and epochs, cached and with plain freezing; a figure.

    python benchmarks/scaling.py

One of the three varies, the others stay at the middle point.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from contestants import measured
from harness import HERE, Results, arguments
from job import forget_prefixes, job_arguments, make_job, suffix

WAYS = ("cached", "plain_freezing")


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    job_arguments(parser, model="base", groups=32, batch=8, epochs=5)
    parser.add_argument("--all_groups", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--all_batch", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--all_epochs", type=int, nargs="+", default=[1, 2, 5, 10, 20])
    args = parser.parse_args(argv)
    middle = make_job(args)
    axes = {"groups": args.all_groups, "batch": args.all_batch, "epochs": args.all_epochs}
    if args.smoke:
        axes = {"epochs": [1]}
    measured("clips", middle, args)
    results = Results(args.threads, gpu=torch.cuda.is_available() and not args.cpu)
    done: dict[tuple[str, int, int, int], float] = {}
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {axis: {way: [] for way in WAYS} for axis in axes}
    for axis, values in axes.items():
        for value in values:
            job = replace(middle, **{axis: value})
            for way in WAYS:
                point = (way, job.groups, job.batch, job.epochs)
                if point not in done:
                    forget_prefixes()
                    done[point] = measured(way, job, args).report["seconds"]
                curves[axis][way].append((value, done[point]))
            ours, theirs = (curves[axis][way][-1][1] for way in WAYS)
            results.add(f"scaling/{axis}={value}{suffix(args)}", ours, "s", theirs)
    forget_prefixes()
    if not args.smoke:
        results.save()
        draw(curves, HERE / "scaling.png", f"stage B, {args.model}: {middle.groups} groups, batch {middle.batch}, "
             f"{middle.epochs} epochs but for what varies")  # fmt: skip


def draw(curves: dict[str, dict[str, list[tuple[int, float]]]], path: Path, title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(curves), figsize=(3.6 * len(curves), 3.2), squeeze=False, sharey=True)
    for panel, (axis, ways) in zip(panels[0], curves.items(), strict=True):
        for way, points in ways.items():
            panel.plot(*zip(*points, strict=True), marker="o", label=way.replace("_", " "))
        panel.set(xlabel=axis if axis != "batch" else "batch (groups)", ylim=(0, None))
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("seconds, first pass included")
    panels[0][0].legend()
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
