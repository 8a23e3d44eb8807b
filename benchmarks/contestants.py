"""Ways to post-train one CLAP on the same groups, each as short as it can honestly be.

    python benchmarks/contestants.py NAME --json-config '{"checkpoint": "clap-mini", "folder": "runs/x"}'

trains once and prints one JSON line: `seconds` from the loaded model to the saved checkpoint (clips, rendering,
features, tokens, first pass, optimizer and writing included), `step_seconds` (median), the last loss. The interpreter's
start and the loading of the model are left out.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils.data import DataLoader
from transformers import ClapModel, Trainer, TrainingArguments

from harness import Measured, measure
from job import LEARNING_RATE, Clock, Job, in_memory, load, make_groups, stage_b_recipe
from teminal_hf.data.views import STAGE_B_VIEWS
from teminal_hf.models.checkpoint import load_clap
from teminal_hf.models.split import detach_split_forward, towers_of
from teminal_hf.models.stages import StagePolicy, apply_stage, frozen_modules
from teminal_hf.training.data_collator import GroupCollator, false_negatives
from teminal_hf.training.losses import temporal_contrastive_loss
from teminal_hf.training.trainer import TeminalTrainer

RECIPE = Path(__file__).with_name("stage_b.yaml")


class Contrast(Trainer):
    """A plain `Trainer` with the package's loss, features and false negatives; trains what requires gradients."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return contrast(model, inputs)


def contrast(model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    model.train()
    for module in frozen_modules(model):
        module.training = False  # a frozen layer drops nothing: cheaper, and what the cached contestant does
    meanings = inputs.pop("meanings")
    out = model(**inputs)
    audio, text = (
        dict(zip(STAGE_B_VIEWS, embeds.chunk(3), strict=True)) for embeds in (out.audio_embeds, out.text_embeds)
    )
    scale = towers_of(model).scale
    return temporal_contrastive_loss(audio, text, scale, false_negatives=false_negatives(meanings))["loss"]


def train(job: Job, clock: Clock, model: nn.Module, processor: Any) -> None:
    trainer = Contrast(
        model,
        TrainingArguments(**job.training()),
        data_collator=GroupCollator(processor, STAGE_B_VIEWS),
        train_dataset=make_groups(job, processor),
        callbacks=[clock],
    )
    trainer.train()


def full_finetune_plain(job: Job, clock: Clock) -> None:
    """As a user would write it: every parameter, `ClapProcessor` in the collator, `return_loss=True`. (That loss takes
    one direction twice, in transformers 5.23; it costs what the right one costs.)"""
    model, processor = load(job, clock)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        sounds = [row[view]["array"] for view in STAGE_B_VIEWS for row in rows]
        captions = [row[f"{view}_caption"] for view in STAGE_B_VIEWS for row in rows]
        rate = processor.feature_extractor.sampling_rate
        batch = processor.tokenizer(captions, padding=True, return_tensors="pt", return_token_type_ids=False)
        batch |= processor.feature_extractor(sounds, sampling_rate=rate, padding="pad", return_tensors="pt")
        return {**batch, "return_loss": True}

    trainer = Trainer(
        model,
        TrainingArguments(**job.training()),
        data_collator=collate,
        train_dataset=make_groups(job, processor),
        callbacks=[clock],
    )
    trainer.train()
    model.save_pretrained(job.folder)


def full_finetune(job: Job, clock: Clock) -> None:
    """The same by someone who knows: torch log-mel, a loss that is right."""
    model, processor = load(job, clock)
    train(job, clock, model, processor)
    model.save_pretrained(job.folder)


def plain_freezing(job: Job, clock: Clock) -> None:
    """The tenth of the parameters that stage B trains; the frozen layers are computed again at every step."""
    model, processor = load(job, clock)
    freeze(model)
    train(job, clock, model, processor)
    model.save_pretrained(job.folder)


def freeze(model: ClapModel) -> None:
    apply_stage(model, StagePolicy())
    detach_split_forward(model)


def plain_freezing_loop(job: Job, clock: Clock) -> None:
    """`plain_freezing` without any Trainer: shows that the Trainer is no handicap."""
    model, processor = load(job, clock)
    freeze(model)
    device = torch.device("cuda" if torch.cuda.is_available() and not job.cpu else "cpu")
    model.to(device)  # type: ignore[arg-type]  # their decorator hides the signature
    groups = make_groups(job, processor)
    loader: DataLoader[Any] = DataLoader(
        groups,
        batch_size=job.batch,
        shuffle=True,
        collate_fn=GroupCollator(processor, STAGE_B_VIEWS),
        num_workers=job.workers,
        persistent_workers=job.workers > 0,
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, LEARNING_RATE, fused=True)
    for _ in range(job.epochs):
        for batch in loader:
            with torch.autocast(device.type, torch.bfloat16, enabled=job.bf16):
                loss = contrast(model, {name: tensor.to(device) for name, tensor in batch.items()})
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            clock.mark()
    clock.loss = float(loss.detach())
    model.save_pretrained(job.folder)


def lora_all(job: Job, clock: Clock) -> None:
    """peft LoRA of rank 16 on every linear layer of both towers, merged at the end."""
    model, processor = load(job, clock)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    tuned = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=names))
    train(job, clock, tuned, processor)
    tuned.merge_and_unload().save_pretrained(job.folder)  # type: ignore[operator]


def sentence_transformers(job: Job, clock: Clock) -> None:
    """sentence-transformers: symmetric InfoNCE, every recording with its caption and, as hard negative, the reversed
    one. Our windows are always full: its tiling of short and random crops of long recordings do not come in."""
    from sentence_transformers_run import train_sentence_transformer

    train_sentence_transformer(job, clock)


def cached(job: Job, clock: Clock, trainer: type[TeminalTrainer] = TeminalTrainer) -> None:
    """Ours: `teminal train stage_b`, whose first pass computes the frozen layers once. Of the recipe only the loading
    of the model (left out of the time) and the trainer (which gets the clock) are replaced."""
    argv = ["--model", job.checkpoint, "--n_groups", str(job.groups), "--clips_per_class", str(job.clips_per_class)]
    argv += ["--cache_prefix=true", "" if job.data_dir is None else f"--data_dir={job.data_dir}"]
    options = job.training()
    del options["remove_unused_columns"], options["dataloader_persistent_workers"]
    argv += [f"--{name}={value}" for name, value in options.items()]
    argv += job.flags

    def timed_load(name: str) -> tuple[ClapModel, Any]:
        with clock.loading():
            model, processor = load_clap(name)
            in_memory(model)
        return model, processor

    def timed_trainer(*args: Any, **kwargs: Any) -> TeminalTrainer:
        made = trainer(*args, **kwargs)
        made.add_callback(clock)
        return made

    recipe = stage_b_recipe()
    with (
        mock.patch.object(recipe, "load_checkpoint", timed_load),
        mock.patch.object(recipe, "TeminalTrainer", timed_trainer),
    ):
        recipe.post_train("stage_b", [word for word in argv if word], RECIPE)


def clips(job: Job, clock: Clock) -> None:
    """Decodes and resamples the clips into the package's store, so that none of the others has to."""
    _, processor = load(job, clock)
    make_groups(job, processor)


CONTESTANTS: dict[str, Callable[[Job, Clock], None]] = {
    function.__name__: function
    for function in (
        full_finetune_plain,
        full_finetune,
        plain_freezing,
        plain_freezing_loop,
        lora_all,
        sentence_transformers,
        cached,
        clips,
    )
}


def run(name: str, job: Job) -> dict[str, Any]:
    """Train once in this process; what the clock says."""
    torch.set_float32_matmul_precision("high" if job.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = job.tf32
    clock = Clock()
    CONTESTANTS[name](job, clock)
    report = clock.report()
    if not job.keep:
        shutil.rmtree(job.folder, ignore_errors=True)
    return report


def measured(name: str, job: Job, args: argparse.Namespace) -> Measured:
    """Train once in a process of its own, with its memory; with `--smoke` in this one, without."""
    if args.smoke:
        return Measured(run(name, job), None, None)
    words = [sys.executable, str(Path(__file__)), name, "--json-config", json.dumps(asdict(job))]
    return measure(words, args.threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("--json-config", default="{}", help=f"fields of {', '.join(Job.__dataclass_fields__)}")
    given = parser.parse_args()
    print(json.dumps(run(given.name, Job(**json.loads(given.json_config)))), flush=True)


if __name__ == "__main__":
    main()
