"""What post-training costs afterwards: milliseconds to embed one sound and one caption, before and after it.

    python benchmarks/latency.py

The base, what stage B saved, and what LoRA saved after its merge, each loaded by plain `ClapModel.from_pretrained`. All
are the same architecture, so the times must be equal up to noise; the models take turns.
"""

import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from transformers import ClapModel, ClapProcessor

from contestants import run
from harness import WORK, Results, arguments, in_quiet_environment, spread
from job import forget_prefixes, job_arguments, make_job, suffix


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    job_arguments(parser, groups=8, batch=4, epochs=1)
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args(argv)
    if args.smoke:
        args.repeats = 2
    else:
        in_quiet_environment(args.threads)
    job = make_job(args)
    folders = {"base": job.checkpoint}
    for name, flags in (("post_trained", ()), ("lora_merged", ("--tuning", "lora"))):
        folders[name] = str(WORK / name)
        shutil.rmtree(folders[name], ignore_errors=True)
        run("cached", replace(job, folder=folders[name], flags=flags, keep=True))
    forget_prefixes()
    gpu = torch.cuda.is_available() and not (args.cpu or args.smoke)
    seconds = race(folders, args.repeats, torch.device("cuda" if gpu else "cpu"))
    results = Results(args.threads, gpu=gpu)
    for kind in ("audio", "text"):
        base = 1000 * statistics.median(seconds["base", kind])
        for name in folders:
            times = [1000 * s for s in seconds[name, kind]]
            results.add(
                f"latency_{kind}/{name}{suffix(args)}", statistics.median(times), "ms", None if name == "base" else base
            )
            results.add(f"latency_{kind}/{name}/spread{suffix(args)}", spread(times), "%")
    if not args.smoke:
        results.save()
    for name in ("post_trained", "lora_merged"):
        shutil.rmtree(folders[name])


@torch.inference_mode()
def race(folders: dict[str, str], repeats: int, device: torch.device) -> dict[tuple[str, str], list[float]]:
    """Seconds of each model's forward on one sound of 10 s and one caption; features and tokens are made beforehand."""
    models = {name: ClapModel.from_pretrained(folder, dtype="float32").eval() for name, folder in folders.items()}
    for model in models.values():
        model.to(device)
    shapes = [{key: tuple(value.shape) for key, value in model.state_dict().items()} for model in models.values()]
    if any(shape != shapes[0] for shape in shapes):
        raise AssertionError("post-training changed the architecture")
    processor = ClapProcessor.from_pretrained(folders["base"])
    rate, samples = processor.feature_extractor.sampling_rate, processor.feature_extractor.nb_max_samples
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, samples).astype(np.float32)
    features = processor.feature_extractor(sound, sampling_rate=rate, return_tensors="pt")["input_features"].to(device)
    tokens = processor.tokenizer(["a dog barks before rain falls"], return_tensors="pt").to(device)
    seconds: dict[tuple[str, str], list[float]] = {(name, kind): [] for name in models for kind in ("audio", "text")}
    for repeat in range(repeats + 1):
        for name, model in models.items():
            began = time.perf_counter()
            model.get_audio_features(input_features=features)
            wait_for(device)
            between = time.perf_counter()
            model.get_text_features(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
            wait_for(device)
            if repeat:  # the first is a warm-up
                seconds[name, "audio"].append(between - began)
                seconds[name, "text"].append(time.perf_counter() - between)
    return seconds


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
