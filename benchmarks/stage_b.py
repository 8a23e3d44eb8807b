"""A training step and a whole stage B: ours against full fine-tuning, freezing, LoRA and sentence-transformers.

    python benchmarks/stage_b.py
    python benchmarks/stage_b.py --model base --data_dir ../shared/data/esc50 --groups 48

Every contestant trains the same groups in the same batches for the same number of epochs, in a process of its own,
three times. All are measured in turns, and ours, which takes seconds, again after every second of the others, so that a
machine that slows down or speeds up meanwhile shows in its spread. Rows hold medians, the number of runs, and their
ends. They are written after every round: what was measured before an interruption is kept.
"""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec

import torch

from contestants import measured
from harness import MIB, Measured, Results, arguments
from headline import write_headlines
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
    parser.add_argument("--repeats", type=int, default=3, help="rounds of all contestants")
    args = parser.parse_args(argv)
    if "cached_again" in args.contestants and "cached" not in args.contestants:
        parser.error("cached_again reads what cached has left: name both")
    job = make_job(args)
    forget_prefixes()
    decoding = measured("clips", job, args)
    print(f"clips decoded beforehand in {decoding.report['seconds']:.1f} s, for all contestants alike", flush=True)
    runs: dict[str, list[Measured]] = {}
    for repeat in range(1 if args.smoke else args.repeats):
        race(job, args, repeat + 1, runs)
        results = Results(args.threads, gpu=torch.cuda.is_available() and not args.cpu)
        add_rows(results, runs, job, suffix(args))
        if not args.smoke:
            results.save()
            write_headlines()
    forget_prefixes()


def race(job: Job, args: argparse.Namespace, repeat: int, runs: dict[str, list[Measured]]) -> None:
    """One round of all contestants, added to `runs`."""
    chosen = [name for name in (*BASELINES, *OURS) if name in args.contestants]
    if "sentence_transformers" in chosen and find_spec("sentence_transformers") is None:
        print('sentence_transformers is left out: pip install "sentence-transformers==6.2.*" to have it', flush=True)
        chosen.remove("sentence_transformers")
    for name in in_turns(chosen):
        if name == "cached":
            forget_prefixes()
        try:
            one = measured("cached" if name in OURS else name, job, args)
        except RuntimeError as error:  # the others' half hour is not to be lost
            print(f"repeat {repeat}, {name} FAILED: {error}", flush=True)
            continue
        runs.setdefault(name, []).append(one)
        memory = "not measured" if one.peak is None else f"{one.peak / MIB:.0f} MiB"
        line = f"{one.report['seconds']:.1f} s, {one.report['step_seconds']:.3f} s a step, memory {memory}"
        print(f"repeat {repeat}, {name}: {line}, loss {one.report['loss']}", flush=True)


def in_turns(chosen: Sequence[str]) -> list[str]:
    """Two of the others, ours, two of the others, ours: each with what it is compared with before and after it."""
    others, ours = ([name for name in chosen if (name in OURS) == mine] for mine in (False, True))
    return [name for i in range(0, max(len(others), 1), 2) for name in (*others[i : i + 2], *ours)]


def add_rows(results: Results, runs: dict[str, list[Measured]], job: Job, end: str) -> None:
    whole = f"stage_b_{job.epochs}_epochs"
    seconds = {name: [one.report["seconds"] for one in ones] for name, ones in runs.items()}
    steps = {name: [one.report["step_seconds"] for one in ones] for name, ones in runs.items()}
    peaks = {name: [one.peak / MIB for one in ones if one.peak is not None] for name, ones in runs.items()}
    for name, ones in runs.items():
        results.add(f"{whole}/{name}{end}", seconds[name], "s")
        results.add(f"training_step/{name}{end}", steps[name], "s")
        results.add(f"throughput/{name}{end}", [job.groups * job.epochs / time for time in seconds[name]], "groups/s")
        if peaks[name]:
            results.add(f"peak_memory/{name}{end}", peaks[name], "MiB")
        mapped = [one.peak_file / MIB for one in ones if one.peak_file is not None]
        if mapped:
            results.add(f"peak_mapped_files/{name}{end}", mapped, "MiB")
    if "cached" not in runs:
        return
    for name in (name for name in runs if name in BASELINES):
        results.add(f"{whole}_vs_{name}{end}", seconds["cached"], "s", seconds[name])
        results.add(f"training_step_vs_{name}{end}", steps["cached"], "s", steps[name])
        if peaks["cached"] and peaks[name]:
            results.add(f"peak_memory_vs_{name}{end}", peaks["cached"], "MiB", peaks[name])


if __name__ == "__main__":
    main()
