"""Log-mel features of a batch of clips, from the same arrays: `LogMel`, on the CPU or a GPU, against
`ClapFeatureExtractor`, which agree.

python benchmarks/features.py
"""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import ClapFeatureExtractor

from harness import Results, arguments, in_quiet_environment, spread
from teminal_hf import LogMel

RATE, SECONDS = 48_000, 10
# Before each timing. The extractor's matrix product leaves a thread of OpenBLAS spinning for a while, which takes a
# core from whoever comes next (with two cores: 43 ms instead of 30).
QUIET_SECONDS = 0.3


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, default=8, help="clips of 10 s")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--device", default="cpu", help="of LogMel: cpu, cuda")
    args = parser.parse_args(argv)
    if args.smoke:
        args.batch, args.repeats = 2, 2
    else:
        in_quiet_environment(args.threads)
    rng = np.random.default_rng(0)
    clips = [rng.uniform(-0.5, 0.5, RATE * SECONDS).astype(np.float32) for _ in range(args.batch)]
    extractor = ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc", padding="pad")  # as of laion's
    log_mel = LogMel.from_extractor(extractor).to(args.device)
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "ClapFeatureExtractor": lambda: extractor(clips, sampling_rate=RATE, return_tensors="pt")["input_features"],
        "LogMel": lambda: log_mel(torch.from_numpy(np.stack(clips)).to(args.device)).cpu(),
    }
    difference = float((ways["LogMel"]() - ways["ClapFeatureExtractor"]()).abs().max())
    if difference > 1e-3:
        raise AssertionError(f"the features differ by {difference} dB: their times cannot be compared")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.repeats):
        for name, way in ways.items():
            time.sleep(0 if args.smoke else QUIET_SECONDS)
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    theirs, ours = (1000 * statistics.median(seconds[name]) for name in ways)
    results = Results(args.threads, gpu=args.device != "cpu")
    end = "" if args.device == "cpu" else f" [{args.device}]"
    results.add(f"log_mel_vs_feature_extractor{end}", ours, "ms", theirs)
    for name, times in seconds.items():
        results.add(f"log_mel/{name}/spread{end}", spread(times), "%")
    results.add(f"log_mel/largest difference{end}", difference, "dB")
    if not args.smoke:
        results.save()


if __name__ == "__main__":
    main()
