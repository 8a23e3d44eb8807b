"""bf16, torch.compile and the precision of the cache against float32: loss curves, time of a step, ZSTE over seeds.

    python benchmarks/precision.py

writes `precision.json` and `precision.png` beside this file, and rows.
"""

import json
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._inductor.config

from contestants import run
from harness import HERE, WORK, Results, arguments, in_quiet_environment
from job import Job, forget_prefixes, job_arguments, make_job, stage_b_recipe, suffix

VARIANTS: dict[str, tuple[str, ...]] = {"fp32": (), "bf16": ("--bf16=true",), "compile": ("--torch_compile=true",)}
UNCACHED = ("--cache_prefix=false",)
PARTS = ("curves", "zste")
DTYPES = ("float32", "float16", "bfloat16")
DEFAULTS = HERE.parent / "recipes" / "stage_b.yaml"


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    job_arguments(parser, model="base", groups=64, batch=16, epochs=6)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure anew")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args(argv)
    small: tuple[str, ...] = ()
    variants = VARIANTS
    dtypes: Sequence[str] = DTYPES
    if args.smoke:
        args.seeds, variants, dtypes = [0], {name: VARIANTS[name] for name in ("fp32", "bf16")}, DTYPES[:1]
        small = ("--n_groups=16", "--num_train_epochs=1", "--per_device_train_batch_size=8", "--report_groups=4",
                 "--clips_per_class=2", "--report_tasks", "3O", "5A", "8", "G")  # fmt: skip
    else:
        in_quiet_environment(args.threads)
    job, end = make_job(args), suffix(args)
    gpu = torch.cuda.is_available() and not (args.cpu or args.smoke)
    results = Results(args.threads, gpu=gpu)
    path = HERE / "precision.json"
    facts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() and not args.smoke else {}
    if "curves" in args.parts:
        facts["loss"] = loss_curves(results, job, variants, end)
    if "zste" in args.parts:
        facts |= {"zste": {dtype: [zste(dtype, seed, small) for seed in args.seeds] for dtype in dtypes}}
        facts["seeds"] = args.seeds
        for average in ("order_average", "temporal_average"):
            for dtype, ones in facts["zste"].items():
                values = [100 * one[average] for one in ones if average in one]
                if values:
                    name = f"precision/cache in {dtype}: {average} over {len(values)} seeds"
                    results.add(name, statistics.mean(values), "%")
    forget_prefixes()
    if not args.smoke:
        path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        if {"loss", "zste"} <= set(facts):
            draw(facts["loss"], facts["zste"], HERE / "precision.png")
        results.save()


def loss_curves(results: Results, job: Job, variants: dict[str, tuple[str, ...]], end: str) -> dict[str, list[float]]:
    """The loss of every step, by place and variant; rows of how far each is from float32, and how much faster."""
    # Compiled code draws its random numbers otherwise, so that dropout, not precision, would part the curves.
    torch._inductor.config.fallback_random = True
    curves: dict[str, list[float]] = {}
    for place, place_flags in (("cached", ()), ("uncached", UNCACHED)):
        times: dict[str, dict[str, float]] = {}
        for name, flags in variants.items():
            forget_prefixes()
            curve, times[name] = loss_curve(replace(job, flags=(*place_flags, *flags)))
            curves[f"{place}, {name}"] = curve
            if name != "fp32":
                apart = np.abs(np.subtract(curve, curves[f"{place}, fp32"]))
                what = f"precision/{place}, {name}"
                results.add(f"{what}: largest difference of the loss from fp32{end}", apart.max(), "nat")
                for time, of in (("step_seconds", "step"), ("seconds", "whole training")):
                    results.add(f"{what}: {of} against fp32{end}", times[name][time], "s", times["fp32"][time])
    return curves


def loss_curve(job: Job) -> tuple[list[float], dict[str, float]]:
    """The loss of every step; `step_seconds` (median), and `seconds` of the whole, compilation included."""
    shutil.rmtree(job.folder, ignore_errors=True)
    report = run("cached", replace(job, flags=(*job.flags, "--logging_steps=1"), keep=True))
    log = json.loads((Path(job.folder) / "log.json").read_text(encoding="utf-8"))
    shutil.rmtree(job.folder)
    return [entry["loss"] for entry in log if "loss" in entry], report


def zste(dtype: str, seed: int, flags: Sequence[str]) -> dict[str, Any]:
    """The averages that stage B reaches on the sound bank, from the embedded base, with its cache in `dtype`."""
    folder = WORK / "zste"
    shutil.rmtree(folder, ignore_errors=True)
    argv = ["--start_from=base", f"--cache_dtype={dtype}", f"--seed={seed}", f"--output_dir={folder}", *flags]
    stage_b_recipe().post_train("stage_b", argv, DEFAULTS)
    after = json.loads((folder / "zste.json").read_text(encoding="utf-8"))["after"]["results"]
    shutil.rmtree(folder)
    return {name: value for name, value in after.items() if not isinstance(value, dict)}


def draw(curves: dict[str, list[float]], scores: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    for name, losses in curves.items():
        left.plot(losses, label=name, linestyle="-" if name.startswith("cached") else ":")
    left.set(xlabel="step", ylabel="loss")
    left.legend(fontsize=8)
    for i, (dtype, ones) in enumerate(scores.items()):
        right.plot([i] * len(ones), [100 * one["order_average"] for one in ones], "o", label=dtype)
    right.set(xticks=range(len(scores)), xticklabels=list(scores), ylabel="order_average, %", xlabel="cache")
    right.margins(x=0.3, y=0.4)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
