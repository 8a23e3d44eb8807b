"""Rows to batches: order of rows, features, tokens, and what is no negative of what."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ClapProcessor

from support.tiny import RATE, SAMPLES, STAGE_A, STAGE_B, groups, tiny_processor
from teminal_hf.training.data_collator import GroupCollator, false_negatives
from teminal_hf.training.losses import symmetric_infonce


@pytest.fixture(scope="module")
def processor() -> ClapProcessor:
    return tiny_processor()


def row(a: str, b: str, views: tuple[str, ...], **captions: str) -> dict[str, Any]:
    """A row of silence with these labels."""
    audio = {"array": np.zeros(10, np.float32), "sampling_rate": RATE}
    words = {f"{view}_caption": "the sound of dog" for view in views}
    return {"label_a": a, "label_b": b, **words, **captions, **dict.fromkeys(views, audio)}


def masked(processor: ClapProcessor, rows: list[dict[str, Any]], views: tuple[str, ...]) -> set[tuple[str, str]]:
    """(audio, text) of the pairs left out, as "view index"; the diagonal apart."""
    mask = false_negatives(GroupCollator(processor, views).meanings(rows))
    names = [f"{view} {i}" for view in views for i in range(len(rows))]
    return {(names[i], names[j]) for i, j in mask.nonzero().tolist() if i != j}


def test_batch_is_in_blocks_of_views(processor: ClapProcessor) -> None:
    rows = groups(4)
    batch = GroupCollator(processor, STAGE_B)(rows)
    assert batch.keys() == {"input_features", "input_ids", "attention_mask", "meanings"}
    assert batch["input_features"].shape == (12, 1, 63, 16) and batch["input_features"].dtype == torch.float32
    extractor, tokenizer = processor.feature_extractor, processor.tokenizer
    for index, (view, each) in enumerate((view, r) for view in STAGE_B for r in rows):
        # transformers' own extractor, one recording at a time
        truth = extractor(each[view]["array"], sampling_rate=RATE, return_tensors="pt")["input_features"][0]
        torch.testing.assert_close(batch["input_features"][index], truth, atol=1e-3, rtol=0)
        length = int(batch["attention_mask"][index].sum())
        ids = tokenizer(each[f"{view}_caption"])["input_ids"]
        assert batch["input_ids"][index, :length].tolist() == ids
        assert tokenizer.unk_token_id not in ids
        assert batch["input_ids"][index, length:].eq(tokenizer.pad_token_id).all()


def test_views_follow_the_order_asked_for(processor: ClapProcessor) -> None:
    rows = groups(2)
    one = GroupCollator(processor, ["forward", "overlay"])(rows)
    other = GroupCollator(processor, ["overlay", "forward"])(rows)
    assert torch.equal(one["input_features"], other["input_features"].roll(2, 0))
    assert torch.equal(one["meanings"], other["meanings"].roll(2, 0))


@pytest.mark.parametrize("kind", ["list", "read-only array", "float64 array", "tensor"])
def test_audio_in_any_container_gives_the_same(processor: ClapProcessor, kind: str) -> None:
    rows = groups(1, ("forward",))
    truth = GroupCollator(processor, ["forward"])(rows)["input_features"]
    array = rows[0]["forward"]["array"]
    if kind == "read-only array":
        array.flags.writeable = False  # as the numpy format of `datasets` may give them
    others = {"list": array.tolist(), "float64 array": array.astype(np.float64), "tensor": torch.tensor(array)}
    given = others.get(kind, array)
    rows[0]["forward"] = {"array": given, "sampling_rate": RATE}
    assert torch.equal(GroupCollator(processor, ["forward"])(rows)["input_features"], truth)


def test_wrong_rate_is_named(processor: ClapProcessor) -> None:
    rows = groups(2, ("forward",))
    rows[1]["forward"]["sampling_rate"] = 16_000
    message = "'forward' audio is at 16000 Hz, the model listens at 8000 Hz; render or resample at the model's rate"
    with pytest.raises(ValueError, match=re.escape(message)):
        GroupCollator(processor, ["forward"])(rows)


def test_audio_longer_than_the_window_is_refused(processor: ClapProcessor) -> None:
    rows = groups(1, ("forward",))
    rows[0]["forward"]["array"] = np.zeros(SAMPLES + 1, np.float32)
    with pytest.raises(ValueError, match="the model hears 1 s"):
        GroupCollator(processor, ["forward"])(rows)


def test_equal_meanings_are_masked_across_views_and_groups(processor: ClapProcessor) -> None:
    rows = [row("dog", "rain", STAGE_B), row("rain", "dog", STAGE_B), row("dog", "wind", STAGE_B)]
    # (dog, rain) forward is (rain, dog) reversed; overlay has no order; the third group shares nothing.
    pairs = {("forward 0", "reversed 1"), ("reversed 0", "forward 1"), ("overlay 0", "overlay 1")}
    assert masked(processor, rows, STAGE_B) == pairs | {(text, audio) for audio, text in pairs}


def test_meaning_is_decided_by_labels_not_by_words(processor: ClapProcessor) -> None:
    rows = [
        row("dog", "rain", ("forward",), forward_caption="dog before rain"),
        row("dog", "rain", ("forward",), forward_caption="rain after dog"),
    ]
    pairs = {("forward 0", "forward 1"), ("forward 1", "forward 0")}
    assert masked(processor, rows, ("forward",)) == pairs


def test_stage_a_masks_the_doubtful_pair_one_way_only(processor: ClapProcessor) -> None:
    rows = [row("dog", "rain", STAGE_A), row("rain", "wind", STAGE_A)]
    # Rows are audio: a double that holds X against "the sound of X". A single of X against "X and Y" stays a negative.
    assert masked(processor, rows, STAGE_A) == {
        ("double 0", "single 0"),
        ("double 0", "single 1"),
        ("double 1", "single 1"),
    }


def test_captions_without_labels_mean_what_they_say(processor: ClapProcessor) -> None:
    said = ("Dog  before rain", "dog before rain", "rain before dog")
    audio = {"array": np.zeros(10, np.float32), "sampling_rate": RATE}
    rows = [{"forward": audio, "forward_caption": caption} for caption in said]
    assert masked(processor, rows, ("forward",)) == {("forward 0", "forward 1"), ("forward 1", "forward 0")}


def test_the_loss_never_masks_a_positive(processor: ClapProcessor) -> None:
    meanings = GroupCollator(processor, ("forward",)).meanings([row("dog", "rain", ("forward",))] * 3)
    mask = false_negatives(meanings)
    assert mask.all()  # the diagonal too: a row holds of itself
    embeds = torch.eye(3, requires_grad=True)
    loss = symmetric_infonce(embeds, torch.eye(3), 10.0, false_negatives=mask)["loss"]
    loss.backward()
    assert loss.item() == 0  # each positive against itself alone
    assert embeds.grad is not None and embeds.grad.isfinite().all()


def test_both_orders_are_said_in_both_ways(processor: ClapProcessor) -> None:
    rows = [row("dog", "rain", STAGE_B), row("clock_tick", "wind", STAGE_B)]
    collator = GroupCollator(processor, STAGE_B, order=True)
    said = collator.captions(rows)["order_"]
    assert [way[0] for way in said] == ["dog before rain", "rain after dog", "rain before dog", "dog after rain"]
    assert [way[1] for way in said][:2] == ["clock tick before wind", "wind after clock tick"]
    batch, without = collator(rows), GroupCollator(processor, STAGE_B)(rows)
    assert batch.keys() - without.keys() == {"order_input_ids", "order_attention_mask"}
    assert len(batch["order_input_ids"]) == 8


def test_plain_wording_says_the_sounds_in_their_order(processor: ClapProcessor) -> None:
    rows = groups(8, (*STAGE_B, "single"))
    collator = GroupCollator(processor, (*STAGE_B, "single"), plain_wording=True)
    said = collator.captions(rows)
    assert said.keys() == {"", "plain_"}
    assert any(" after " in caption for caption in said[""][0])
    for i, each in enumerate(rows):
        a, b = (each[label].replace("_", " ") for label in ("label_a", "label_b"))
        assert [view[i] for view in said["plain_"][:2]] == [f"{a} before {b}", f"{b} before {a}"]
        assert [view[i] for view in said["plain_"][2:]] == [each["overlay_caption"], each["single_caption"]]
    batch = collator(rows)
    tokens = processor.tokenizer([c for view in said["plain_"] for c in view], padding=True, return_tensors="pt")
    assert torch.equal(batch["plain_input_ids"], tokens["input_ids"])
    assert torch.equal(batch["plain_attention_mask"], tokens["attention_mask"])
    without = GroupCollator(processor, (*STAGE_B, "single"))(rows)
    assert batch.keys() - without.keys() == {"plain_input_ids", "plain_attention_mask"}
    for name, tensor in without.items():
        assert torch.equal(batch[name], tensor)
