"""Cached prefixes give the batches, embeddings and gradients that computing them anew gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import STAGE_B, groups, tiny_clap, tiny_processor
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import ClapModel

from teminal_hf.collator import GroupCollator
from teminal_hf.prefix_cache import CachedGroups, collate_cached
from teminal_hf.stages import StagePolicy, apply_stage, train_mode

VIEWS = (*STAGE_B, "single")
POLICY = StagePolicy()


def cache(
    path: Path, model: ClapModel, rows: list[dict[str, Any]], collator: GroupCollator, **options: Any
) -> CachedGroups:
    return CachedGroups(model, POLICY.cut, rows, collator, path / "sub" / "prefix.bin", batch_size=3, **options)


def staged() -> ClapModel:
    model = tiny_clap()
    apply_stage(model, POLICY)
    return model


def with_wording(batch: dict[str, Tensor], plain: bool) -> dict[str, Tensor]:
    prefix = "plain_" if plain else ""
    names = [n.removeprefix(prefix) for n in batch if n.startswith("plain_") == plain]
    words = {n: batch[prefix + n] for n in names if n in ("input_ids", "text_hidden", "attention_mask")}
    return words | {n: batch[n] for n in ("input_features", "audio_tokens") if n in batch}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("plain", [False, True])
def test_cached_batches_give_the_same_embeddings(tmp_path: Path, plain: bool, num_workers: int) -> None:
    model, rows = staged(), groups(7, VIEWS)  # 7 groups by 3: the last batch of both passes is short
    collator = GroupCollator(tiny_processor(), VIEWS, plain_wording=True)
    cached = cache(tmp_path, model, rows, collator, num_workers=num_workers)
    assert len(cached) == 7
    seen = 0
    for batch in DataLoader(cached, batch_size=3, collate_fn=collate_cached, num_workers=num_workers):
        n = len(batch["audio_tokens"]) // len(VIEWS)
        fresh = collator(rows[seen : seen + n])
        seen += n
        assert torch.equal(batch["meanings"], fresh["meanings"])
        for prefix in ("", "plain_"):
            assert torch.equal(batch[f"{prefix}attention_mask"], fresh[f"{prefix}attention_mask"])
        with torch.no_grad():
            ours, truth = model(**with_wording(batch, plain)), model(**with_wording(fresh, plain))
        torch.testing.assert_close(ours.audio_embeds, truth.audio_embeds, atol=5e-3, rtol=0)  # tokens in float16
        torch.testing.assert_close(ours.text_embeds, truth.text_embeds, atol=1e-6, rtol=0)  # nothing rounded
    assert seen == 7


def test_wordings_differ_in_the_cache_too(tmp_path: Path) -> None:
    """So that the test above compares two things."""
    collator = GroupCollator(tiny_processor(), VIEWS, plain_wording=True)
    batch = collate_cached([cache(tmp_path, staged(), groups(4, VIEWS), collator)[i] for i in range(4)])
    assert batch["text_hidden"].shape != batch["plain_text_hidden"].shape or not torch.equal(
        batch["text_hidden"], batch["plain_text_hidden"]
    )


def test_gradients_are_those_of_the_uncached_batch(tmp_path: Path) -> None:
    model, rows = staged(), groups(4, VIEWS)
    collator = GroupCollator(tiny_processor(), VIEWS)
    cached = cache(tmp_path, model, rows, collator)
    gradients = []
    for batch in (collate_cached([cached[i] for i in range(4)]), collator(rows)):
        model.zero_grad()
        out = model(**with_wording(batch, plain=False))
        (out.audio_embeds[:, 0].sum() + out.text_embeds[:, 1].sum()).backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    ours, truth = gradients
    assert ours.keys() == truth.keys() and len(ours) > 30
    for name in truth:
        torch.testing.assert_close(ours[name], truth[name], atol=2e-2, rtol=2e-2, msg=name)


def test_any_order_of_groups(tmp_path: Path) -> None:
    collator = GroupCollator(tiny_processor(), VIEWS)
    cached = cache(tmp_path, staged(), groups(5, VIEWS), collator)
    one, other = (collate_cached([cached[i] for i in order]) for order in ([0, 4, 2], [2, 4, 0]))
    for k in range(len(VIEWS)):
        block = slice(3 * k, 3 * k + 3)
        assert torch.equal(one["audio_tokens"][block], other["audio_tokens"][block].flip(0))
        assert torch.equal(one["meanings"][block], other["meanings"][block].flip(0))


def test_caching_leaves_the_models_mode_and_random_state(tmp_path: Path) -> None:
    model, collator = tiny_clap(dropout=0.5), GroupCollator(tiny_processor(), ("forward",))
    apply_stage(model, POLICY)
    train_mode(model)
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    in_training = cache(tmp_path / "a", model, groups(3, ("forward",)), collator)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    in_eval = cache(tmp_path / "b", model.eval(), groups(3, ("forward",)), collator)
    assert not model.training
    assert torch.equal(in_training[1]["audio_tokens"], in_eval[1]["audio_tokens"])  # no dropout in either
    assert torch.equal(in_training[1]["text_hidden"], in_eval[1]["text_hidden"])


def test_file_is_half_precision_made_anew_and_deleted(tmp_path: Path) -> None:
    collator, path = GroupCollator(tiny_processor(), ("forward",)), tmp_path / "sub" / "prefix.bin"
    path.parent.mkdir()
    path.write_bytes(b"of an interrupted run, " * 10_000)
    cached = cache(tmp_path, staged(), groups(3, ("forward",)), collator)
    assert path.stat().st_size == 2 * cached[0]["audio_tokens"].numel() * 3
    assert cached[0]["audio_tokens"].dtype == torch.float32
    cached.delete()
    assert not path.exists()
