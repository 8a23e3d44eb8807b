"""Peak memory against the batch, in groups: frozen layers computed at every step, cached, cached with GradCache chunks.

    python benchmarks/memory.py

Two optimizer steps each. A straight line through the two largest batches gives the memory of a group and the largest
batch in 24 GiB.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import torch

from contestants import measured
from harness import GIB, MIB, Results, arguments
from job import Job, forget_prefixes, job_arguments, make_job, suffix

FITS = 24 * GIB
CHUNK = 32


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    job_arguments(parser, model="base", workers=0)
    parser.add_argument("--uncached_batches", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--cached_batches", type=int, nargs="+", default=[32, 128, 256, 512])
    parser.add_argument("--chunked_batches", type=int, nargs="+", default=[128, 256, 512])
    args = parser.parse_args(argv)
    if CHUNK not in args.cached_batches:
        parser.error(f"--cached_batches must hold {CHUNK}: a larger batch in chunks of {CHUNK} is compared with it")
    for batches in (args.uncached_batches, args.cached_batches, args.chunked_batches):
        if len(batches) < 2 or batches != sorted(set(batches)):
            parser.error(f"two batches or more are needed, the smallest first; found {batches}")
    ways: dict[str, tuple[str, Sequence[int], tuple[str, ...]]] = {
        "plain_freezing": ("plain_freezing", args.uncached_batches, ()),
        "cached": ("cached", args.cached_batches, ()),
        f"cached, chunks of {CHUNK}": ("cached", args.chunked_batches, (f"--mini_batch_groups={CHUNK}",)),
    }
    if args.smoke:
        ways = {name: (way, [4], tuple(f.replace("32", "2") for f in flags)) for name, (way, _, flags) in ways.items()}
    # As many groups for all that are cached: the first of them makes the cache of all.
    groups = max(max(batches) for way, batches, _ in ways.values() if way == "cached")
    job, end = replace(make_job(args), groups=groups, steps=2), suffix(args)
    gpu = torch.cuda.is_available() and not args.cpu
    results = Results(args.threads, gpu=gpu)
    measured("clips", job, args)
    forget_prefixes()
    first = measured("cached", replace(job, batch=min(args.cached_batches) if not args.smoke else 4), args)
    if first.peak is not None:
        results.add(f"memory/cached, with its first pass{end}", first.peak / MIB, "MiB")
    peaks = {name: climb(name, *how, job, args) for name, how in ways.items()}
    forget_prefixes()
    if args.smoke:
        return
    for name, points in peaks.items():
        for batch, peak in points.items():
            results.add(f"memory/{name}, batch {batch}{end}", peak / MIB, "MiB")
        (fewer, low), (more, high) = list(points.items())[-2:]  # small batches take less than loading and saving do
        slope = (high - low) / (more - fewer)
        results.add(f"memory/{name}, per group{end}", slope / MIB, "MiB")
        if slope > 0:
            results.add(
                f"memory/{name}, largest batch in 24 GiB by the line{end}", more + (FITS - high) // slope, "groups"
            )
    chunked, whole = peaks[f"cached, chunks of {CHUNK}"], peaks["cached"]
    largest = max(chunked)
    name = f"memory/batch {largest} in chunks of {CHUNK} vs batch {CHUNK}{end}"
    results.add(name, chunked[largest] / MIB, "MiB", whole[CHUNK] / MIB)
    results.save()


def climb(
    name: str, way: str, batches: Sequence[int], flags: tuple[str, ...], job: Job, args: argparse.Namespace
) -> dict[int, float]:
    """Peak bytes by batch."""
    peaks = {}
    for batch in batches:
        groups = job.groups if way == "cached" else 2 * batch
        one = measured(way, replace(job, batch=batch, groups=groups, flags=flags), args)
        if one.peak is None and not args.smoke:
            raise OSError("this system does not tell the memory of a process (/proc/PID/smaps_rollup of Linux does)")
        peaks[batch] = float(one.peak or 0)
        print(f"{name}, batch {batch}: {peaks[batch] / MIB:.0f} MiB", flush=True)
    return peaks


if __name__ == "__main__":
    main()
