"""Cached prefixes give the batches, embeddings, gradients and weights that computing them anew gives."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import ClapFeatureExtractor, ClapModel

from support.tiny import ALL_VIEWS, RATE, TinyRows, assert_equal, groups, tiny_clap, tiny_processor, trainer, weights
from teminal_hf.clips.sources import sound_bank
from teminal_hf.data.caption_pairs import CaptionPairs
from teminal_hf.data.groups import GroupDataset, plan
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.models import frozen_prefix
from teminal_hf.models.clap_towers import ClapTowers
from teminal_hf.models.split import towers_of
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.storage import cache
from teminal_hf.training.cached_groups import CachedGroups, collate_cached
from teminal_hf.training.data_collator import GroupCollator

POLICY = StagePolicy()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path / "cache"))


def staged(**options: Any) -> ClapModel:
    model = tiny_clap(**options)
    apply_stage(model, POLICY)
    return model


def cached(rows: Sequence[dict[str, Any]], views: Sequence[str] = ALL_VIEWS, **options: Any) -> CachedGroups:
    rows = TinyRows(rows) if isinstance(rows, list) else rows
    model, split_point = options.pop("model", None) or staged(), options.pop("cut", POLICY.split_point)
    collator = options.pop("collator", None) or GroupCollator(tiny_processor(), views, plain_wording=True)
    num_workers = options.pop("num_workers", 0)
    data = CachedGroups(model, split_point, rows, collator, **options)
    frozen_prefix.announce(*data.stores)
    return data.fill(num_workers)


def with_wording(batch: dict[str, Tensor], plain: bool) -> dict[str, Tensor]:
    prefix = "plain_" if plain else ""
    names = [n.removeprefix(prefix) for n in batch if n.startswith("plain_") == plain]
    words = {n: batch[prefix + n] for n in names if n in ("input_ids", "text_hidden", "attention_mask")}
    return words | {n: batch[n] for n in ("input_features", "audio_tokens") if n in batch}


@pytest.mark.parametrize(
    "dtype, num_workers, tolerance", [("float16", 0, 5e-3), ("float32", 2, 1e-5), ("bfloat16", 0, 3e-2)]
)
@pytest.mark.parametrize("plain", [False, True])
def test_cached_batches_give_the_same_embeddings(dtype: str, num_workers: int, tolerance: float, plain: bool) -> None:
    model, rows = staged(), groups(7, ALL_VIEWS)  # 7 groups by 3: the last batch is short
    collator = GroupCollator(tiny_processor(), ALL_VIEWS, plain_wording=True)
    data = cached(rows, model=model, collator=collator, dtype=dtype, num_workers=num_workers)
    assert len(data) == 7 and data[0]["audio_tokens"].dtype == getattr(torch, dtype)
    seen = 0
    for batch in DataLoader(data, batch_size=3, collate_fn=collate_cached, num_workers=num_workers):
        n = len(batch["audio_tokens"]) // len(ALL_VIEWS)
        fresh = collator(rows[seen : seen + n])
        seen += n
        assert torch.equal(batch["meanings"], fresh["meanings"])
        for prefix in ("", "plain_"):
            assert torch.equal(batch[f"{prefix}attention_mask"], fresh[f"{prefix}attention_mask"])
        with torch.no_grad():
            ours, truth = model(**with_wording(batch, plain)), model(**with_wording(fresh, plain))
        torch.testing.assert_close(ours.audio_embeds, truth.audio_embeds, atol=tolerance, rtol=0)
        torch.testing.assert_close(ours.text_embeds, truth.text_embeds, atol=tolerance, rtol=0)
    assert seen == 7


def test_wordings_differ_in_the_cache_too() -> None:
    """So that the test above compares two things."""
    data = cached(groups(4, ALL_VIEWS))
    batch = collate_cached([data[i] for i in range(4)])
    assert batch["text_hidden"].shape != batch["plain_text_hidden"].shape or not torch.equal(
        batch["text_hidden"], batch["plain_text_hidden"]
    )


OPTIONS: dict[str, Any] = {"views": ALL_VIEWS, "alpha_same_time": 3.0, "plain_share": 0.5}
OPTIONS |= {"retention": 0.5, "mixture": 0.5, "text_hinge": 0.7}


def test_gradients_with_a_float32_cache_are_those_without() -> None:
    model, rows = staged(), groups(4, ALL_VIEWS)
    collator = GroupCollator(tiny_processor(), ALL_VIEWS)
    data, gradients = cached(rows, model=model, collator=collator, dtype="float32"), []
    for batch in (collate_cached([data[i] for i in range(4)]), collator(rows)):
        model.zero_grad()
        out = model(**with_wording(batch, plain=False))
        (out.audio_embeds[:, 0].sum() + out.text_embeds[:, 1].sum()).backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    ours, truth = gradients
    assert ours.keys() == truth.keys() and len(ours) > 30
    for name in truth:
        torch.testing.assert_close(ours[name], truth[name], atol=1e-5, rtol=1e-5, msg=name)


def test_weights_after_20_sgd_steps_with_a_float32_cache_are_those_without(tmp_path: Path) -> None:
    rows, trained = groups(16, ALL_VIEWS), []
    sgd = {"optim": "sgd", "learning_rate": 0.02, "lr_scheduler_type": "constant", "max_steps": 20}
    for is_cached in (True, False):
        t = trainer(tmp_path, train_dataset=rows, **sgd, **OPTIONS)
        if is_cached:
            t.train_dataset = cached(rows, model=t.model, collator=t.data_collator, dtype="float32")
            t.data_collator = collate_cached
        t.train()
        trained.append(weights(t.model))
    ours, truth = trained
    start = weights(staged())
    assert max((truth[name] - start[name]).abs().max() for name in truth) > 1e-2  # it went somewhere
    for name in truth:
        torch.testing.assert_close(ours[name], truth[name], atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_one_caption_of_a_list_an_epoch_cached_or_not(tmp_path: Path, num_workers: int) -> None:
    sounds = [{"array": row["single"]["array"], "sampling_rate": RATE} for row in groups(4, ["single"])]
    texts = [["a dog", "a bark", "wet dog"], ["rain"], ["wind", "a gust"], ["cow", "moo"]]
    extractor, parts = tiny_processor().feature_extractor, []
    for is_cached in (False, True):
        rows: Any = CaptionPairs(Dataset.from_dict({"audio": sounds, "text": texts}), "audio", "text", extractor)
        heard: list[list[int]] = []
        collator = GroupCollator(tiny_processor(), ["forward"])
        rows, collate = (
            (cached(rows, ["forward"], dtype="float32", collator=collator), collate_cached)
            if is_cached
            else (rows, collator)
        )
        options = {"views": ["forward"], "optim": "sgd", "learning_rate": 0.1, "max_steps": 6}
        run = trainer(tmp_path, train_dataset=rows, dataloader_num_workers=num_workers, **options)
        run.data_collator = collate
        loss = run.compute_loss

        def spied(model: Any, inputs: Any, *args: Any, heard: Any = heard, loss: Any = loss, **kwargs: Any) -> Any:
            heard.append(sorted(inputs["meanings"][:, 0].tolist()))
            return loss(model, inputs, *args, **kwargs)

        run.compute_loss = spied
        run.train()
        parts.append((heard, weights(run.model)))
    (heard, plain), (heard_cached, through) = parts
    assert heard == heard_cached and len({tuple(epoch) for epoch in heard}) == 6  # turns of 3, 1, 2 and 2
    assert len({meaning for epoch in heard for meaning in epoch}) == 8
    for name in plain:
        torch.testing.assert_close(through[name], plain[name], atol=1e-5, rtol=0, msg=name)


def test_any_order_of_groups() -> None:
    data = cached(groups(5, ALL_VIEWS))
    one, other = (collate_cached([data[i] for i in order]) for order in ([0, 4, 2], [2, 4, 0]))
    for k in range(len(ALL_VIEWS)):
        block = slice(3 * k, 3 * k + 3)
        assert torch.equal(one["audio_tokens"][block], other["audio_tokens"][block].flip(0))
        assert torch.equal(one["meanings"][block], other["meanings"][block].flip(0))


def test_caching_leaves_the_models_modes_and_random_state() -> None:
    model = tiny_clap(dropout=0.5)
    apply_stage(model, POLICY)
    model.train()  # as it may come: BatchNorm would take the statistics of what it hears
    modes, state, before = [m.training for m in model.modules()], torch.get_rng_state(), weights(model)
    in_training = cached(groups(3), ("forward",), model=model)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert_equal(weights(model), before)
    cache.clear()
    in_eval = cached(groups(3), ("forward",), model=model.eval())
    assert torch.equal(in_training[1]["audio_tokens"], in_eval[1]["audio_tokens"])  # no dropout in either
    assert torch.equal(in_training[1]["text_hidden"], in_eval[1]["text_hidden"])


def test_a_second_run_reads_what_the_first_has_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    first = cached(groups(5, ALL_VIEWS))
    assert "to compute into" in caplog.text and "found in" not in caplog.text
    rows = TinyRows(groups(5, ALL_VIEWS))
    second = cached(rows)
    assert rows.read == [] and "found in" in caplog.text
    for name, tensor in first[3].items():
        assert torch.equal(second[3][name], tensor), name


def test_stages_and_seeds_of_one_base_share_what_is_frozen() -> None:
    cached(groups(5, ALL_VIEWS))
    model, rows = staged(), TinyRows(groups(5, ALL_VIEWS))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)  # trained meanwhile
    cached(rows, model=model)
    assert rows.read == []


def change_weight(tower: str) -> ClapModel:
    model = staged()
    with torch.no_grad():
        module: Any = towers_of(model).prefix_modules(POLICY.split_point)[tower][-1]
        next(module.parameters()).flatten()[-1] += 1e-6
    return model


def other_norm() -> ClapModel:
    model = staged()
    model.audio_model.audio_encoder.batch_norm.running_mean[0] += 1.0  # a buffer
    return model


def other_extractor() -> GroupCollator:
    processor = tiny_processor()
    settings = processor.feature_extractor.to_dict() | {"frequency_max": 3900}
    processor.feature_extractor = ClapFeatureExtractor.from_dict(settings)
    return GroupCollator(processor, ["forward"])


@pytest.mark.parametrize(
    "options",
    [
        lambda: {"model": change_weight("audio")},
        lambda: {"model": other_norm()},
        lambda: {"cut": StagePolicy(audio_blocks=2).split_point, "model": apply_stage(tiny_clap(), StagePolicy(2))[0]},
        lambda: {"dtype": "bfloat16"},
        lambda: {"collator": other_extractor()},
        lambda: {"rows": TinyRows(groups(5), "other recordings")},
        lambda: {"views": ["reversed"]},
    ],
    ids=["weight", "buffer", "cut", "dtype", "extractor", "recordings", "views"],
)
def test_what_the_audio_depends_on_is_in_its_key(options: Any) -> None:
    cached(groups(5), ("forward",))
    given = options()
    rows = given.pop("rows", None) or TinyRows(groups(5))
    cached(rows, given.pop("views", ("forward",)), **given)
    assert rows.read == list(range(5))


@pytest.mark.parametrize(
    "change",
    [
        lambda patch, model: patch.setattr(frozen_prefix, "code_id", lambda *sources: "edited"),
        lambda patch, model: patch.setattr(frozen_prefix.transformers, "__version__", "99"),
        lambda patch, model: patch.setattr(frozen_prefix, "float32_precision", lambda: ["tf32"]),
        lambda patch, model: setattr(model.config.audio_config, "layer_norm_eps", 1e-3),
    ],
    ids=["code", "version", "tf32", "configuration"],
)
def test_how_it_is_computed_is_in_the_key(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(groups(5), ("forward",))
    rows, model = TinyRows(groups(5)), staged()
    change(monkeypatch, model)
    cached(rows, ("forward",), model=model)
    assert rows.read == list(range(5))


def test_what_the_text_depends_on_is_in_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = staged(), groups(5, ALL_VIEWS)
    truth = cached(rows, model=model)[2]["text_hidden"]
    asked: list[int] = []
    whole = ClapTowers.text_prefix
    monkeypatch.setattr(
        ClapTowers,
        "text_prefix",
        lambda towers, split_point, ids, mask: asked.append(len(ids)) or whole(towers, split_point, ids, mask),
    )
    assert torch.equal(cached(rows, model=model)[2]["text_hidden"], truth) and not asked
    other = cached(rows, model=change_weight("text"))[2]["text_hidden"]
    assert asked and not torch.equal(other, truth)
    said = {name for row in rows for name in (row["forward_caption"], row["reversed_caption"], row["overlay_caption"])}
    assert len(said) <= sum(asked) <= 2 * len(said)  # a caption once, not once a group; and those in plain wording


def test_autocast_has_entries_of_its_own() -> None:
    exact = cached(groups(3), ("forward",))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = cached(groups(3), ("forward",))
    assert not torch.equal(exact[0]["audio_tokens"], rounded[0]["audio_tokens"])
    assert torch.allclose(exact[0]["audio_tokens"].float(), rounded[0]["audio_tokens"].float(), atol=0.2)


def test_an_interrupted_pass_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    many = groups(10, ("forward",)) * 14  # 140 rows: three shards

    class Dies(TinyRows):
        def __getitem__(self, index: Any) -> Any:
            if index == 130:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    with pytest.raises(KeyboardInterrupt):
        cached(Dies(many), ("forward",))
    (entry,) = [e for e in cache.entries() if "recordings" in e.what]
    folder = cache.cache_root() / "prefix" / entry.key
    assert sorted(p.name for p in folder.iterdir()) == ["00000.safetensors", "00001.safetensors", "about.json"]
    (folder / "00002.safetensors.4711.draft").write_bytes(b"of a process that was killed")
    rows = TinyRows(many)
    resumed = cached(rows, ("forward",))
    assert rows.read == list(range(128, 140))
    cache.clear()
    whole = cached(many, ("forward",))
    assert all(torch.equal(resumed[i]["audio_tokens"], whole[i]["audio_tokens"]) for i in range(140))


def test_groups_of_other_sound_have_another_id() -> None:
    clips = sound_bank(2).in_folds([1]).usable(16_000)
    rows = list(plan("stage_b", clips, 4, seed=0))

    def recordings_id(table: Any = clips, manifest: Any = rows, views: Any = ("forward",), **settings: Any) -> str:
        return GroupDataset(manifest, Renderer(table, RenderSettings(16_000, **settings)), views).recordings_id

    same = recordings_id()
    assert recordings_id() == same
    worded = [row | {"forward_caption": "something else"} for row in rows]
    assert recordings_id(manifest=worded) == same  # the sound is what it was
    swapped = [rows[0] | {"clip_a": rows[1]["clip_a"]}, *rows[1:]]
    others = [
        recordings_id(manifest=rows[:3]),
        recordings_id(manifest=swapped),
        recordings_id(manifest=[row | {"seed": 1} for row in rows]),
        recordings_id(views=("reversed",)),
        recordings_id(gap=0.5),
        recordings_id(augment=True),
        recordings_id(sound_bank(3).in_folds([1]).usable(16_000), [*plan("stage_b", clips, 5, seed=0)]),
    ]
    assert len({same, *others}) == 8


def test_a_full_disk_is_told_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    rows = TinyRows(groups(5))
    with pytest.raises(OSError, match=r"frozen prefix, 0 MiB: 0.0 GiB are to be written to .*cache.*TEMINAL_CACHE"):
        cached(rows)
    assert rows.read == []


def test_activations_beyond_half_precision_name_the_way_out() -> None:
    model = staged()
    with torch.no_grad():
        last: Any = towers_of(model).prefix_modules(POLICY.split_point)["audio"][-1]
        last.reduction.weight.mul_(1e6)
    with pytest.raises(ValueError, match=r"not finite in torch\.float16: beyond its range \(set cache_dtype to b"):
        cached(groups(2), ("forward",), model=model)
    assert cached(groups(2), ("forward",), model=model, dtype="bfloat16")[0]["audio_tokens"].isfinite().all()


def test_unknown_dtype() -> None:
    with pytest.raises(ValueError, match="unknown cache_dtype 'int8'; choose of float16, bfloat16, float32"):
        cached(groups(2), dtype="int8")
