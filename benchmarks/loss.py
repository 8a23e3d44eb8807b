"""Peak memory and time of stage B's loss and its gradients: all pairs at once, in blocks, and a share of 8 processes.

    python benchmarks/loss.py

Embeddings of three views in 512 dimensions, float32, on the CPU; no model. Each point has a process of its own. Memory
is what its peak grew by, the embeddings left out; of the share, what one of 8 processes takes for the same batch,
without the gathering.
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Sequence

import torch

from harness import MIB, Results, arguments, in_quiet_environment, measure
from teminal_hf.training import sharded_losses
from teminal_hf.training.losses import VIEWS
from teminal_hf.training.sharded_losses import Batch, temporal_share

DIM, PROCESSES = 512, 8
ALPHAS = {"alpha_same_time": 3.0, "alpha_cross_time": 0.5, "alpha_same_overlap": 2.0, "alpha_cross_overlap": 0.3}
WAYS = {"whole": (1, 2**62), "blocks": (1, sharded_losses.BLOCK), "share of 8": (PROCESSES, sharded_losses.BLOCK)}


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--all_groups", type=int, nargs="+", default=[64, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # a way and a number of groups
    args = parser.parse_args(argv)
    if args.one:
        print(one(*WAYS[args.one[0]], int(args.one[1]), args.repeats))
        return
    if not args.smoke:
        in_quiet_environment(args.threads)
    results = Results(args.threads)
    for groups in [16] if args.smoke else args.all_groups:
        found = {}
        for way in WAYS:
            words = [sys.executable, __file__, "--one", way, str(groups), "--repeats", str(args.repeats)]
            found[way] = measure(words, args.threads).report
        for way, report in found.items():
            compared = way != "whole"
            for figure, unit in (("memory", "MiB"), ("seconds", "s")):
                baseline = found["whole"][figure] if compared else None
                results.add(f"loss/{way}, {groups} groups, {figure}", report[figure], unit, baseline)
    if not args.smoke:
        results.save()


def one(processes: int, block: int, groups: int, repeats: int) -> str:
    """JSON of what one way takes for so many groups over all processes."""
    generator = torch.Generator().manual_seed(0)
    shape = (processes, len(VIEWS), groups // processes)
    audio, text = (torch.randn(*shape, DIM, generator=generator, requires_grad=True) for _ in range(2))
    scale = torch.tensor(20.0, requires_grad=True)
    batch = Batch(audio, text, torch.arange(audio[..., 0].numel()).reshape(*shape, 1))
    small = Batch(audio[:, :, :1], text[:, :, :1], batch.meanings[:, :, :1])
    temporal_share(small, VIEWS, scale, ALPHAS, 1.0, block=block)["loss"].backward()  # grows the gradients and pools
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        temporal_share(batch, VIEWS, scale, ALPHAS, 1.0, block=block)["loss"].backward()
        seconds.append(time.perf_counter() - began)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / MIB
    return f'{{"seconds": {statistics.median(seconds)}, "memory": {max(grown, 0.1)}}}'


if __name__ == "__main__":
    main()
