"""The losses against slow, independent float64 definitions: values and gradients."""

import doctest
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

import teminal_hf.training.losses
from teminal_hf.training.losses import symmetric_infonce, temporal_contrastive_loss

ORDER = ("forward", "reversed", "overlay")
SUBSETS = [tuple(view for bit, view in enumerate(ORDER) if code >> bit & 1) for code in range(1, 8)]
ALPHAS = ("alpha_same_time", "alpha_cross_time", "alpha_same_overlap", "alpha_cross_overlap")
Embeds = dict[str, Tensor]


def make_embeds(
    views: tuple[str, ...], groups: int, dim: int, seed: int, dtype: torch.dtype = torch.float64
) -> tuple[Embeds, Embeds]:
    generator = torch.Generator().manual_seed(seed)
    audio, text = (
        {view: torch.randn(groups, dim, generator=generator, dtype=torch.float64).to(dtype) for view in views}
        for _ in range(2)
    )
    return audio, text


def random_mask(pairs: int, seed: int) -> Tensor:
    """Not symmetric, so that a mask not transposed for text -> audio would show; True on some positives."""
    return torch.rand(pairs, pairs, generator=torch.Generator().manual_seed(seed)) < 0.3


def slow_loss(
    audio: Mapping[str, Tensor],
    text: Mapping[str, Tensor],
    scale: Tensor | float,
    similarity: str,
    mask: Tensor | None,
    weights: Mapping[str, float],
) -> Embeds:
    """The formula term by term, in sums of exponentials: no log-weights, no matrices, no logsumexp."""
    views = [view for view in ORDER if view in audio]
    groups = len(audio[views[0]])

    def similarity_of(u: Tensor, t: Tensor) -> Tensor:
        product = (u * t).sum() if similarity == "dot" else cosine_similarity(u, t, dim=0)
        return torch.exp(scale * product)

    def weight_of(view: str, other: str, same: bool) -> float:
        if view == other:
            return 1.0
        kind = "overlap" if "overlay" in {view, other} else "time"
        return weights[f"alpha_{'same' if same else 'cross'}_{kind}"]

    def left_out(audio_row: int, text_row: int) -> bool:
        return mask is not None and audio_row != text_row and bool(mask[audio_row, text_row])

    parts: Embeds = {}
    for v, view in enumerate(views):
        rows = []
        for i in range(groups):
            positive = similarity_of(audio[view][i], text[view][i])
            to_text, to_audio = torch.zeros_like(positive), torch.zeros_like(positive)
            for w, other in enumerate(views):
                for j in range(groups):
                    weight = weight_of(view, other, same=i == j)
                    if not left_out(v * groups + i, w * groups + j):
                        to_text = to_text + weight * similarity_of(audio[view][i], text[other][j])
                    if not left_out(w * groups + j, v * groups + i):
                        to_audio = to_audio + weight * similarity_of(audio[other][j], text[view][i])
            rows.append((torch.log(to_text / positive) + torch.log(to_audio / positive)) / 2)
        parts[view] = torch.stack(rows).mean()
    zero = torch.zeros((), dtype=torch.float64)
    rest = parts.get("reversed", zero) + parts.get("overlay", zero)
    return {"loss": (parts.get("forward", zero) + weights["beta"] * rest) / len(views), **parts}


def with_gradients(
    loss: Callable[[Embeds, Embeds, Tensor], Embeds], audio: Embeds, text: Embeds, scale: float
) -> tuple[Embeds, list[Tensor]]:
    leaves = [{view: embeds.clone().requires_grad_() for view, embeds in side.items()} for side in (audio, text)]
    scale_leaf = torch.tensor(scale, dtype=next(iter(audio.values())).dtype, requires_grad=True)
    parts = loss(leaves[0], leaves[1], scale_leaf)
    inputs = [*leaves[0].values(), *leaves[1].values(), scale_leaf]
    gradients = torch.autograd.grad(parts["loss"], inputs)
    return {name: part.detach() for name, part in parts.items()}, list(gradients)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("views", SUBSETS, ids="+".join)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_equals_the_slow_definition(views: tuple[str, ...], groups: int, similarity: Any) -> None:
    seed = 100 * groups + len(views)
    generator = torch.Generator().manual_seed(seed)
    values = (3 * torch.rand(5, generator=generator)).tolist()
    weights: dict[str, Any] = dict(zip((*ALPHAS, "beta"), values, strict=True))
    weights[ALPHAS[(seed + len(views[0])) % 4]] = 0.0
    mask = random_mask(len(views) * groups, seed) if groups != 2 else None
    audio, text = make_embeds(views, groups, dim=3, seed=seed)
    parts, gradients = with_gradients(
        lambda a, t, s: temporal_contrastive_loss(a, t, s, **weights, similarity=similarity, false_negatives=mask),
        audio,
        text,
        scale=2.5,
    )
    slow_parts, slow_gradients = with_gradients(
        lambda a, t, s: slow_loss(a, t, s, similarity, mask, weights), audio, text, scale=2.5
    )
    assert set(parts) == {"loss", *views}
    torch.testing.assert_close(parts, slow_parts, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients, slow_gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [*ALPHAS, "beta"])
def test_each_weight_acts_where_it_should(name: str) -> None:
    """One weight at a time, so that no two of them can be swapped unseen."""
    audio, text = make_embeds(ORDER, groups=3, dim=4, seed=1)
    weights: dict[str, Any] = dict.fromkeys((*ALPHAS, "beta"), 1.0) | {name: 5.0}
    parts = temporal_contrastive_loss(audio, text, 2.0, **weights)
    torch.testing.assert_close(parts, slow_loss(audio, text, 2.0, "cosine", None, weights), rtol=1e-10, atol=1e-12)
    assert parts["loss"] > temporal_contrastive_loss(audio, text, 2.0)["loss"]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_symmetric_infonce_equals_the_slow_definition(similarity: Any, masked: bool) -> None:
    audio, text = make_embeds(("forward",), groups=5, dim=3, seed=2)
    mask = random_mask(5, seed=3) if masked else None
    weights = dict.fromkeys((*ALPHAS, "beta"), 1.0)
    parts, gradients = with_gradients(
        lambda a, t, s: symmetric_infonce(a["forward"], t["forward"], s, similarity=similarity, false_negatives=mask),
        audio,
        text,
        scale=1.7,
    )
    slow_parts, slow_gradients = with_gradients(
        lambda a, t, s: slow_loss(a, t, s, similarity, mask, weights), audio, text, scale=1.7
    )
    torch.testing.assert_close(parts["loss"], slow_parts["loss"], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients, slow_gradients, rtol=1e-9, atol=1e-12)


def test_symmetric_infonce_names_its_directions() -> None:
    audio, text = (side["forward"] for side in make_embeds(("forward",), groups=6, dim=3, seed=4))
    logits = 3.0 * normalize(audio, dim=1) @ normalize(text, dim=1).T
    parts = symmetric_infonce(audio, text, 3.0)
    to_text, to_audio = (cross_entropy(side, torch.arange(6)) for side in (logits, logits.T))
    assert abs(to_text - to_audio) > 1e-3
    expected = {"loss": (to_text + to_audio) / 2, "audio_to_text": to_text, "text_to_audio": to_audio}
    torch.testing.assert_close(parts, expected)


@pytest.mark.parametrize("views", SUBSETS, ids="+".join)
def test_all_weights_one_is_plain_infonce_over_all_pairs(views: tuple[str, ...]) -> None:
    audio, text = make_embeds(views, groups=4, dim=5, seed=5)
    stacked_audio, stacked_text = (torch.cat([side[view] for view in views]) for side in (audio, text))
    logits = 14.3 * normalize(stacked_audio, dim=1) @ normalize(stacked_text, dim=1).T
    target = torch.arange(len(logits))
    expected = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(temporal_contrastive_loss(audio, text, 14.3)["loss"], expected)
    torch.testing.assert_close(symmetric_infonce(stacked_audio, stacked_text, 14.3)["loss"], expected)


def test_two_views_are_tact() -> None:
    """TACT as its paper writes it: a clip z, its time-reversed T(z), C_time inside each denominator."""
    audio, text = make_embeds(("forward", "reversed"), groups=4, dim=3, seed=6)
    alpha_same, alpha_cross, beta = 3.0, 0.5, 0.7

    def tnce(z: Tensor, own: Tensor, batch: Tensor, reversed_batch: Tensor, index: int) -> Tensor:
        c_time = alpha_same * torch.exp(z @ reversed_batch[index])
        for other in range(len(batch)):
            if other != index:
                c_time = c_time + alpha_cross * torch.exp(z @ reversed_batch[other])
        return -torch.log(torch.exp(z @ own) / (torch.exp(batch @ z).sum() + c_time))

    def one_time_direction(view: str, other: str) -> Tensor:
        terms = []
        for i in range(4):
            terms.append(tnce(audio[view][i], text[view][i], text[view], text[other], i))
            terms.append(tnce(text[view][i], audio[view][i], audio[view], audio[other], i))
        return torch.stack(terms).mean()

    forward, backward = one_time_direction("forward", "reversed"), one_time_direction("reversed", "forward")
    parts = temporal_contrastive_loss(
        audio,
        text,
        1.0,
        alpha_same_time=alpha_same,
        alpha_cross_time=alpha_cross,
        beta=beta,
        similarity="dot",
    )
    expected = {"loss": (forward + beta * backward) / 2, "forward": forward, "reversed": backward}
    torch.testing.assert_close(parts, expected)


def test_order_of_the_groups_and_of_the_dict_does_not_matter() -> None:
    groups = 5
    audio, text = make_embeds(ORDER, groups, dim=4, seed=7)
    mask = random_mask(3 * groups, seed=8)
    weights: dict[str, Any] = {"alpha_same_time": 3.0, "alpha_same_overlap": 2.0, "beta": 0.3}
    expected = temporal_contrastive_loss(audio, text, 9.0, **weights, false_negatives=mask)

    shuffle = torch.randperm(groups, generator=torch.Generator().manual_seed(9))
    rows = torch.cat([shuffle + block * groups for block in range(3)])
    moved_audio, moved_text = ({view: side[view][shuffle] for view in ORDER} for side in (audio, text))
    moved = temporal_contrastive_loss(moved_audio, moved_text, 9.0, **weights, false_negatives=mask[rows][:, rows])
    torch.testing.assert_close(moved, expected)

    backwards = {view: audio[view] for view in reversed(ORDER)}
    turned = temporal_contrastive_loss(backwards, text, 9.0, **weights, false_negatives=mask)
    assert list(turned) == ["loss", *ORDER]
    torch.testing.assert_close(turned, expected, rtol=0, atol=0)


def test_a_masked_pair_has_no_influence_and_a_masked_positive_counts() -> None:
    audio, text = make_embeds(("forward", "overlay"), groups=2, dim=3, seed=10)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, 3] = True  # recording forward 0, caption overlay 1
    on_diagonal = mask | torch.eye(4, dtype=torch.bool)
    parts = temporal_contrastive_loss(audio, text, 2.0, false_negatives=mask)
    assert torch.equal(temporal_contrastive_loss(audio, text, 2.0, false_negatives=on_diagonal)["loss"], parts["loss"])
    forward = audio["forward"], text["forward"], 2.0
    unmasked = symmetric_infonce(*forward)
    assert torch.equal(symmetric_infonce(*forward, false_negatives=torch.eye(2).bool())["loss"], unmasked["loss"])

    logits = 2.0 * normalize(torch.cat([*audio.values()]), dim=1) @ normalize(torch.cat([*text.values()]), dim=1).T
    logits[0, 3] = -math.inf
    target = torch.arange(4)
    torch.testing.assert_close(parts["loss"], (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_masked_is_zero_with_finite_gradients(dtype: torch.dtype, groups: int) -> None:
    audio, text = make_embeds(ORDER, groups, dim=4, seed=11, dtype=dtype)
    arguments: dict[str, Any] = dict.fromkeys(ALPHAS, 0.0)
    arguments["false_negatives"] = torch.ones(3 * groups, 3 * groups, dtype=torch.bool)
    parts, gradients = with_gradients(
        lambda a, t, s: temporal_contrastive_loss(a, t, s, **arguments), audio, text, 100.0
    )
    torch.testing.assert_close(parts, dict.fromkeys(parts, torch.zeros((), dtype=dtype)))
    torch.testing.assert_close(gradients, [torch.zeros_like(gradient) for gradient in gradients])


@pytest.mark.parametrize(("similarity", "scale"), [("cosine", 100.0), ("dot", 30.0)])
def test_gradients_are_finite_with_logits_in_the_hundreds(similarity: Any, scale: float) -> None:
    audio, text = make_embeds(ORDER, groups=6, dim=8, seed=12, dtype=torch.float32)
    arguments: dict[str, Any] = {"alpha_cross_time": 0.0, "alpha_same_overlap": 0.0, "similarity": similarity}
    arguments["false_negatives"] = random_mask(18, seed=13)
    parts, gradients = with_gradients(
        lambda a, t, s: temporal_contrastive_loss(a, t, s, **arguments), audio, text, scale
    )
    assert all(part.isfinite() for part in parts.values())
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_bf16_embeddings_and_autocast_are_computed_in_float32(similarity: Any) -> None:
    audio, text = make_embeds(ORDER, groups=3, dim=16, seed=14, dtype=torch.bfloat16)
    wide_audio, wide_text = ({view: side[view].float() for view in ORDER} for side in (audio, text))
    expected = temporal_contrastive_loss(wide_audio, wide_text, 14.0, similarity=similarity)
    assert expected["loss"].dtype == torch.float32
    found = [temporal_contrastive_loss(audio, text, 14.0, similarity=similarity)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scale = torch.tensor(14.0, dtype=torch.bfloat16)
        found.append(temporal_contrastive_loss(audio, text, scale, similarity=similarity))
        found.append(temporal_contrastive_loss(wide_audio, wide_text, 14.0, similarity=similarity))
    for parts in found:
        torch.testing.assert_close(parts, expected, rtol=0, atol=0)


AUDIO, TEXT = make_embeds(ORDER, groups=2, dim=3, seed=16)
ONE_VIEW = {"forward": AUDIO["forward"]}


@pytest.mark.parametrize(
    ("audio", "text", "arguments", "message"),
    [
        (
            ONE_VIEW,
            TEXT,
            {},
            r"same views.*found audio \['forward'\] and text \['forward', 'overlay', 'reversed'\]",
        ),
        ({}, {}, {}, r"at least one; found audio \[\] and text \[\]"),
        ({"flipped": TEXT["forward"]}, ONE_VIEW, {}, r"unknown views \['flipped'\]; known are \['forward'"),
        (AUDIO, TEXT | {"overlay": torch.ones(2, 4)}, {}, r"\(2, 3\) and text_embeds\['overlay'\] \(2, 4\)"),
        (
            AUDIO | {"reversed": torch.ones(1, 3)},
            TEXT,
            {},
            r"\(2, 3\) and audio_embeds\['reversed'\] \(1, 3\)",
        ),
        ({"forward": torch.ones(3)}, {"forward": torch.ones(3)}, {}, r"share one shape .*\(3,\)"),
        ({"forward": torch.ones(0, 3)}, {"forward": torch.ones(0, 3)}, {}, r"must be non-empty .*\(0, 3\)"),
        (AUDIO, TEXT, {"similarity": "euclid"}, r'must be "cosine" or "dot", found \'euclid\''),
        (
            AUDIO,
            TEXT,
            {"false_negatives": torch.zeros(2, 2, dtype=torch.bool)},
            r"shape \(6, 6\) \(rows audio, columns text\), found shape \(2, 2\) and dtype torch\.bool",
        ),
        (AUDIO, TEXT, {"false_negatives": torch.zeros(6, 6)}, r"boolean.*dtype torch\.float32"),
        *[
            (AUDIO, TEXT, {name: value}, rf"^{name} must be a finite number >= 0, found {value}$")
            for name in (*ALPHAS, "beta")
            for value in (-0.5, math.inf, math.nan)
        ],
    ],
)
def test_bad_input_is_named(audio: Embeds, text: Embeds, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        temporal_contrastive_loss(audio, text, 1.0, **arguments)


def test_bad_input_of_symmetric_infonce_is_named() -> None:
    with pytest.raises(ValueError, match=r"audio_embeds \(2, 3\) and text_embeds \(2, 4\)"):
        symmetric_infonce(torch.ones(2, 3), torch.ones(2, 4), 1.0)
    with pytest.raises(ValueError, match=r"shape \(2, 2\) .*found shape \(3, 3\)"):
        symmetric_infonce(torch.ones(2, 3), torch.ones(2, 3), 1.0, false_negatives=torch.ones(3, 3).bool())


def test_docstring_examples() -> None:
    results = doctest.testmod(teminal_hf.training.losses)
    assert results.attempted > 0
    assert results.failed == 0
