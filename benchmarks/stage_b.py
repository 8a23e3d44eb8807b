"""A training step and a whole stage B: ours against full fine-tuning, freezing, LoRA and sentence-transformers.

    python benchmarks/stage_b.py
    python benchmarks/stage_b.py --model base --data_dir ../shared/data/esc50 --repeats 3

Every contestant trains the same groups in the same batches for the same number of epochs, in a process of its own.
Ours, which takes seconds, is measured again after every second of the others, so that a machine that slows down or
speeds up meanwhile shows in its spread; medians are reported.
"""

import argparse
import statistics
from collections.abc import Sequence
from importlib.util import find_spec

import torch

from contestants import measured
from harness import MIB, Measured, Results, arguments, spread
from job import Job, forget_prefixes, job_arguments, make_job, suffix

BASELINES = (
    "full_finetune_plain",
    "full_finetune",
    "plain_freezing",
    "plain_freezing_loop",
    "lora_all",
    "sentence_transformers",
)
OURS = ("cached", "cached_again")  # in this order: the second finds the first's cache


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    job_arguments(parser)
    parser.add_argument("--contestants", nargs="+", choices=(*BASELINES, *OURS), default=[*BASELINES, *OURS])
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args(argv)
    if "cached_again" in args.contestants and "cached" not in args.contestants:
        parser.error("cached_again reads what cached has left: name both")
    job = make_job(args)
    runs = race(job, args)
    results = Results(args.threads, gpu=torch.cuda.is_available() and not args.cpu)
    add_rows(results, runs, job, suffix(args))
    if not args.smoke:
        results.save()


def race(job: Job, args: argparse.Namespace) -> dict[str, list[Measured]]:
    """All measurements, by contestant."""
    forget_prefixes()
    decoding = measured("clips", job, args)
    print(f"clips decoded beforehand in {decoding.report['seconds']:.1f} s, for all contestants alike", flush=True)
    chosen = [name for name in (*BASELINES, *OURS) if name in args.contestants]
    if "sentence_transformers" in chosen and find_spec("sentence_transformers") is None:
        print('sentence_transformers is left out: pip install "sentence-transformers==6.2.*" to have it', flush=True)
        chosen.remove("sentence_transformers")
    runs: dict[str, list[Measured]] = {name: [] for name in chosen}
    for repeat in range(args.repeats):
        for name in in_turns(chosen):
            if name == "cached":
                forget_prefixes()
            try:
                one = measured("cached" if name in OURS else name, job, args)
            except RuntimeError as error:  # the others' half hour is not to be lost
                print(f"repeat {repeat + 1}, {name} FAILED: {error}", flush=True)
                continue
            runs[name].append(one)
            memory = "not measured" if one.peak is None else f"{one.peak / MIB:.0f} MiB"
            line = f"{one.report['seconds']:.1f} s, {one.report['step_seconds']:.3f} s a step, memory {memory}"
            print(f"repeat {repeat + 1}, {name}: {line}, loss {one.report['loss']}", flush=True)
    forget_prefixes()
    return {name: ones for name, ones in runs.items() if ones}


def in_turns(chosen: Sequence[str]) -> list[str]:
    """Two of the others, ours, two of the others, ours: each with what it is compared with before and after it."""
    others, ours = ([name for name in chosen if (name in OURS) == mine] for mine in (False, True))
    return [name for i in range(0, max(len(others), 1), 2) for name in (*others[i : i + 2], *ours)]


def add_rows(results: Results, runs: dict[str, list[Measured]], job: Job, end: str) -> None:
    whole = f"stage_b_{job.epochs}_epochs"
    figures: dict[str, dict[str, float]] = {}
    for name, ones in runs.items():
        seconds = [one.report["seconds"] for one in ones]
        middle = {"seconds": statistics.median(seconds)}
        middle["step"] = statistics.median(one.report["step_seconds"] for one in ones)
        peaks = [one.peak for one in ones if one.peak is not None]
        if peaks:
            middle["peak"] = statistics.median(peaks) / MIB
        figures[name] = middle
        results.add(f"{whole}/{name}{end}", middle["seconds"], "s")
        results.add(f"training_step/{name}{end}", middle["step"], "s")
        results.add(f"throughput/{name}{end}", job.groups * job.epochs / middle["seconds"], "groups/s")
        if peaks:
            results.add(f"peak_memory/{name}{end}", middle["peak"], "MiB")
        mapped = [one.peak_file for one in ones if one.peak_file is not None]
        if mapped:
            results.add(f"peak_mapped_files/{name}{end}", statistics.median(mapped) / MIB, "MiB")
        if len(ones) > 1:
            results.add(f"{whole}/{name}/spread{end}", spread(seconds), "%")
    if "cached" not in figures:
        return
    ours = figures["cached"]
    for name in (name for name in figures if name in BASELINES):
        theirs = figures[name]
        results.add(f"{whole}_vs_{name}{end}", ours["seconds"], "s", theirs["seconds"])
        results.add(f"training_step_vs_{name}{end}", ours["step"], "s", theirs["step"])
        if "peak" in ours and "peak" in theirs:
            results.add(f"peak_memory_vs_{name}{end}", ours["peak"], "MiB", theirs["peak"])


if __name__ == "__main__":
    main()
