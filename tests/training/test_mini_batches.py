"""A batch embedded in chunks has the loss and the gradients of the whole batch, in the memory of a chunk."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from support.tiny import ALL_VIEWS, groups, tiny_clap, tiny_processor, train_mode, trainer
from teminal_hf.models.split import towers_of
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.training.data_collator import GroupCollator

CUT = StagePolicy().split_point


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))


@pytest.mark.parametrize("mini_batch_groups", [1, 3, 8, 100])  # 8 groups: 8 x 1, 3 + 3 + 2, all, all
def test_gradients_are_those_of_the_whole_batch(tmp_path: Path, mini_batch_groups: int) -> None:
    rows, found = groups(8, ALL_VIEWS), []
    for chunk in (0, mini_batch_groups):
        options: dict[str, Any] = {"views": ALL_VIEWS, "retention": 0.5, "mixture": 0.5, "text_hinge": 0.7}
        t = trainer(tmp_path, train_dataset=rows, mini_batch_groups=chunk, **options)
        t.model.train()
        loss = t.compute_loss(t.model, t.data_collator(rows))
        found.append((loss.detach(), gradients(t.model, loss)))
    (truth, whole), (loss, chunked) = found
    torch.testing.assert_close(loss, truth, atol=1e-6, rtol=1e-6)
    assert sum(gradient is not None for gradient in whole.values()) > 30
    for name, gradient in whole.items():
        torch.testing.assert_close(chunked[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("options", [{"bf16": True}, {"tuning": "lora"}], ids=["bf16", "lora"])
def test_autocast_and_adapters_change_nothing_about_it(tmp_path: Path, options: dict[str, Any]) -> None:
    if "tuning" in options:  # peft 0.21 under transformers 5.23
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
    rows, found = groups(8, ALL_VIEWS), []
    for chunk in (0, 3):
        t = trainer(tmp_path, train_dataset=rows, views=ALL_VIEWS, mini_batch_groups=chunk, **options)
        t.model.train()
        batch = t.data_collator(rows)
        with t.accelerator.autocast():
            loss = t.compute_loss(t.model, batch)
        found.append((loss.detach(), gradients(t.model, loss)))
    (truth, whole), (loss, chunked) = found
    torch.testing.assert_close(loss, truth, atol=1e-6, rtol=1e-6)
    tolerance = 2e-2 if "bf16" in options else 1e-5  # sums of another order, rounded to bfloat16
    for name, gradient in whole.items():
        if gradient is not None:
            torch.testing.assert_close(chunked[name], gradient, atol=tolerance, rtol=tolerance, msg=name)


@pytest.mark.parametrize("cached", [False, True])
def test_dropout_is_the_same_in_both_passes(cached: bool) -> None:
    """Against the same chunks with all their activations held: other dropout masks would show in the gradients."""
    model, _ = apply_stage(tiny_clap(dropout=0.3), StagePolicy())
    train_mode(model)
    batch = GroupCollator(tiny_processor(), ["forward"])(groups(7, ("forward",)))
    del batch["meanings"]
    mask, found = batch["attention_mask"], []
    with torch.no_grad():
        tokens = towers_of(model).audio_prefix(CUT, batch["input_features"])
        hidden = towers_of(model).text_prefix(CUT, batch["input_ids"], mask)
    inputs = {"audio_tokens": tokens, "text_hidden": hidden} if cached else batch
    for held in (True, False):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            if held:
                audio = torch.cat([towers_of(model).audio_suffix(CUT, chunk) for chunk in tokens.split(3)])
                parts = zip(hidden.split(3), mask.split(3), strict=True)
                text = torch.cat([towers_of(model).text_suffix(CUT, *part) for part in parts])
            else:
                out = model(**inputs | {"attention_mask": mask}, chunk_rows=3)
                audio, text = out.audio_embeds, out.text_embeds
            found.append((audio.detach(), gradients(model, (audio @ text.T)[0].sum())))
    (truth, whole), (audio, again) = found
    assert torch.equal(audio, truth)
    for name, gradient in whole.items():
        if gradient is not None:
            torch.testing.assert_close(again[name], gradient, atol=1e-6, rtol=1e-6, msg=name)


def test_activations_of_the_whole_batch_are_never_held() -> None:
    model, _ = apply_stage(tiny_clap(), StagePolicy())
    train_mode(model)
    held: list[int] = []

    def bytes_held(n_groups: int, chunk_rows: int) -> int:
        generator = torch.Generator().manual_seed(0)
        tokens, hidden = (
            torch.randn(n_groups, 16, 16, generator=generator),
            torch.randn(n_groups, 5, 16, generator=generator),
        )
        mask = torch.ones(n_groups, 5, dtype=torch.long)
        inputs = {t.untyped_storage().data_ptr() for t in (tokens, hidden, mask, *model.parameters())}
        held.clear()

        def pack(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage().data_ptr() not in inputs:
                held.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(audio_tokens=tokens, text_hidden=hidden, attention_mask=mask, chunk_rows=chunk_rows)
        return sum(held)

    whole, chunked = bytes_held(64, 0), bytes_held(64, 4)
    assert whole > 100_000 and chunked < whole / 100


def test_evaluation_takes_chunks_too() -> None:
    model, _ = apply_stage(tiny_clap(), StagePolicy())
    batch = GroupCollator(tiny_processor(), ALL_VIEWS)(groups(3, ALL_VIEWS))
    del batch["meanings"]
    with torch.no_grad():
        whole, chunked = model(**batch), model(**batch, chunk_rows=5)
    torch.testing.assert_close(chunked.audio_embeds, whole.audio_embeds, atol=1e-6, rtol=0)
    torch.testing.assert_close(chunked.text_embeds, whole.text_embeds, atol=1e-6, rtol=0)
