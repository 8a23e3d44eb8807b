"""Contrastive losses of the two stages: embeddings in, a dict of named losses out; no model inside."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import relu

VIEWS = ("forward", "reversed", "overlay")

HINGE_MARGIN = 0.2

Similarity = Literal["cosine", "dot"]


def temporal_contrastive_loss(
    audio_embeds: Mapping[str, Tensor],
    text_embeds: Mapping[str, Tensor],
    logit_scale: Tensor | float,
    *,
    alpha_same_time: float = 1.0,
    alpha_cross_time: float = 1.0,
    alpha_same_overlap: float = 1.0,
    alpha_cross_overlap: float = 1.0,
    beta: float = 1.0,
    similarity: Similarity = "cosine",
    false_negatives: Tensor | None = None,
) -> dict[str, Tensor]:
    """Stage B: teaches a model to tell "X before Y" from "Y before X" and from "X while Y".

    Each *group* is made of two clips and gives up to three pairs of a recording and its caption, one per
    view. Every recording is pulled towards its own caption and pushed away from all other captions of the
    batch, and every caption likewise among the recordings. The hard negatives are the other views of the same
    group: the same two sounds in another relation. The weights say how much each kind of negative counts, as
    a factor on its term in the denominator: 1 is an ordinary negative, 0 takes the pair out.

    Inputs (N groups, D dimensions, K views):

    | name | shape | meaning |
    | --- | --- | --- |
    | `audio_embeds` | view -> (N, D) | `forward` X then Y, `reversed` Y then X, `overlay` both at once |
    | `text_embeds` | view -> (N, D) | captions, for the same views; row i of every view belongs to group i |
    | `logit_scale` | scalar | positive multiplier of the similarities (already exponentiated) |
    | `false_negatives` | (K*N, K*N) bool | True: leave the pair out; rows audio, columns text, view order |

    Args:
        audio_embeds: embeddings of the recordings. Any non-empty subset of the three views, in any order.
        text_embeds: embeddings of the captions.
        logit_scale: inverse temperature, as a tensor (may require gradient) or a float, > 0.
        alpha_same_time: weight, >= 0, of the same group's other order, between `forward` and `reversed`.
        alpha_cross_time: weight, >= 0, of the other groups' other order, between `forward` and `reversed`.
        alpha_same_overlap: weight, >= 0, of the same group's other view, where one of the two is `overlay`.
        alpha_cross_overlap: weight, >= 0, of the other groups' other view, where one of the two is `overlay`.
        beta: weight, >= 0, of the rows of `reversed` and `overlay` in the total.
        similarity: `"cosine"` normalises the embeddings here, in float32; `"dot"` takes raw dot products.
        false_negatives: pairs that are no true negatives, such as captions of equal meaning; blocks in the
            order forward, reversed, overlay (those present). Both directions leave them out; a recording's
            own caption (the diagonal) always counts.

    Returns:
        `loss`, the total (L_forward + beta * (L_reversed + L_overlay)) / K, and each view's own part L_view
        under its name: the mean over its N rows of the average of audio-to-text and text-to-audio. All are
        float32 scalars (float64 for float64 embeddings) that carry gradient. A view that is absent counts 0
        and has no part.

    Raises:
        ValueError: for unknown, missing or mismatched views, shapes that differ, a weight that is negative or
            not finite, an unknown similarity, or a mask of another shape or dtype.

    Relations:
        - With all weights at 1 it is the symmetric InfoNCE of CLIP and CLAP over K*N pairs
          ([`symmetric_infonce`]).
        - With `forward` and `reversed` alone it is, up to a constant factor, the loss of TACT ("Test of
          Time", arXiv 2301.02074): `alpha_same_time`, `alpha_cross_time` and `beta` are its alpha_same,
          alpha_cross and beta.
        - With all three views it is TeminAL's TNCE (arXiv 2408.09269). The defaults differ from its authors'
          code, which takes raw dot products (`similarity="dot"`, `logit_scale=1.0`) and counts equal captions
          as negatives.

    Example:
        >>> import torch
        >>> from teminal_hf.training.losses import temporal_contrastive_loss
        >>> generator = torch.Generator().manual_seed(0)
        >>> views = ("forward", "reversed", "overlay")
        >>> audio = {view: torch.randn(4, 16, generator=generator) for view in views}
        >>> text = {view: embeds + 0.1 for view, embeds in audio.items()}
        >>> parts = temporal_contrastive_loss(audio, text, logit_scale=14.3, alpha_same_time=3.0)
        >>> sorted(parts)
        ['forward', 'loss', 'overlay', 'reversed']
        >>> bool(parts["loss"] < 0.1)
        True
    """
    views = _checked_views(audio_embeds, text_embeds)
    table = log_weight_table(
        views,
        alpha_same_time=alpha_same_time,
        alpha_cross_time=alpha_cross_time,
        alpha_same_overlap=alpha_same_overlap,
        alpha_cross_overlap=alpha_cross_overlap,
    )
    check_weight("beta", beta)
    logits = _logits_per_audio(
        torch.cat([audio_embeds[view] for view in views]),
        torch.cat([text_embeds[view] for view in views]),
        logit_scale,
        similarity,
    )
    groups = len(logits) // len(views)
    places = torch.cartesian_prod(torch.arange(len(views)), torch.arange(groups)).T.to(logits.device)
    # The weights depend on the pair of views, not on the direction: the matrix is symmetric and serves both.
    log_weights = pair_log_weights(table.to(logits), places, places)
    to_text, to_audio = _reweighted_cross_entropy(logits, log_weights, false_negatives)
    per_view = ((to_text + to_audio) / 2).view(len(views), groups).mean(dim=1)
    parts = dict(zip(views, per_view.unbind(), strict=True))
    return {"loss": total_of_views(parts, beta), **parts}


def text_hinge(captions: Tensor, order: Sequence[Tensor]) -> Tensor:
    """By how much captions are not nearer, by a margin, to other wordings of their order than to the other order's.

    The sum over both pairs of max(0, margin - cos(caption, same) + cos(caption, other)), averaged over captions; the
    margin is 0.2. It is of text alone (Oncescu et al. 2024, arXiv 2409.00851, who give it ten times the weight of the
    contrastive loss beside it).

    Args:
        captions: embeddings (N, D).
        order: four of (N, D): two wordings of what a caption says, then two of the other order.
    """
    same, other = order[:2], order[2:]
    cosines = [[torch.cosine_similarity(captions.float(), e.float(), dim=-1) for e in each] for each in (same, other)]
    return sum((relu(HINGE_MARGIN - s + o).mean() for s, o in zip(*cosines, strict=True)), captions.new_zeros(()))


def symmetric_infonce(
    audio_embeds: Tensor,
    text_embeds: Tensor,
    logit_scale: Tensor | float,
    *,
    similarity: Similarity = "cosine",
    false_negatives: Tensor | None = None,
) -> dict[str, Tensor]:
    """Stage A: pulls each recording towards its own caption and away from the other captions of the batch.

    The loss CLIP and CLAP were pretrained with. In stage A the pairs are single sounds ("the sound of X") and
    doubles ("the sound of X and Y"), so that the model learns that a recording can hold more than one sound.

    Inputs (M pairs, D dimensions):

    | name | shape | meaning |
    | --- | --- | --- |
    | `audio_embeds` | (M, D) | embeddings of the recordings |
    | `text_embeds` | (M, D) | embeddings of their captions, row by row |
    | `logit_scale` | scalar | positive multiplier of the similarities (already exponentiated) |
    | `false_negatives` | (M, M) bool | True = leave the pair out; rows audio, columns text |

    Args:
        audio_embeds: embeddings of the recordings.
        text_embeds: embeddings of the captions.
        logit_scale: inverse temperature, as a tensor (may require gradient) or a float, > 0.
        similarity: `"cosine"` normalises the embeddings here, in float32; `"dot"` takes raw dot products.
        false_negatives: pairs that are no true negatives. Both directions leave them out; the diagonal always
            counts.

    Returns:
        `audio_to_text` and `text_to_audio`, the mean cross-entropy of each direction, and `loss`, their
        average. All are float32 scalars (float64 for float64 embeddings) that carry gradient.

    Raises:
        ValueError: for shapes that differ, an unknown similarity, or a mask of another shape or dtype.

    Relations:
        - [`temporal_contrastive_loss`] weights the negatives; with all weights at 1 it is this loss over all
          its pairs.
        - `ClapModel(return_loss=True)` of transformers 5.23 averages the text-to-audio half with itself
          instead of with the audio-to-text half, and so differs.

    Example:
        >>> import torch
        >>> from teminal_hf.training.losses import symmetric_infonce
        >>> parts = symmetric_infonce(torch.eye(2), torch.eye(2), logit_scale=1.0)
        >>> round(parts["loss"].item(), 4)  # -log(e / (e + 1))
        0.3133
    """
    _check_shapes("audio_embeds", audio_embeds, "text_embeds", text_embeds)
    logits = _logits_per_audio(audio_embeds, text_embeds, logit_scale, similarity)
    to_text, to_audio = _reweighted_cross_entropy(logits, None, false_negatives)
    audio_to_text, text_to_audio = to_text.mean(), to_audio.mean()
    loss = (audio_to_text + text_to_audio) / 2
    return {"loss": loss, "audio_to_text": audio_to_text, "text_to_audio": text_to_audio}


def _reweighted_cross_entropy(
    logits: Tensor, log_weights: Tensor | None, false_negatives: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row against its diagonal, audio -> text and text -> audio, (M,) each.

    `logits` and `log_weights`, which is added to them, are (M, M), rows audio. The diagonal is neither
    reweighted nor masked, so every log-sum-exp is finite: a row of nothing but -inf, whose gradient is NaN,
    cannot occur.
    """
    weighted = logits if log_weights is None else logits + log_weights
    if false_negatives is not None:
        weighted = weighted.masked_fill(_off_diagonal(false_negatives, len(logits)), -math.inf)
    positives = logits.diagonal()
    return weighted.logsumexp(dim=1) - positives, weighted.logsumexp(dim=0) - positives


def _logits_per_audio(audio: Tensor, text: Tensor, logit_scale: Tensor | float, similarity: Similarity) -> Tensor:
    """Scaled similarities (M, M), rows audio; float32 also under autocast (a bf16 step at 50 is 0.25)."""
    if similarity not in ("cosine", "dot"):
        raise ValueError(f'similarity must be "cosine" or "dot", found {similarity!r}')
    dtype = torch.promote_types(torch.promote_types(audio.dtype, text.dtype), torch.float32)
    with torch.autocast(device_type=audio.device.type, enabled=False):
        audio, text = audio.to(dtype), text.to(dtype)
        if similarity == "cosine":
            audio = torch.nn.functional.normalize(audio, dim=-1)
            text = torch.nn.functional.normalize(text, dim=-1)
        return logit_scale * (audio @ text.T)


def log_weight_table(views: Sequence[str], **alphas: float) -> Tensor:
    """Log-weights (2, K, K) of a pair of rows by their views: [0] in two groups, [1] in one; 0 is a true -inf.

    Raises:
        ValueError: a weight that is negative or not finite.
    """
    for name, value in alphas.items():
        check_weight(name, value)

    def log_weight(which: str, row: str, column: str) -> float:
        if row == column:
            return 0.0
        weight = alphas[f"alpha_{which}_{'overlap' if 'overlay' in (row, column) else 'time'}"]
        return math.log(weight) if weight > 0 else -math.inf

    table = [[[log_weight(which, row, column) for column in views] for row in views] for which in ("cross", "same")]
    return torch.tensor(table, dtype=torch.float64)


def pair_log_weights(table: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Log-weights (R, C) of pairs of rows, each known by its place, (2, R) and (2, C): number of the view, group."""
    (row_views, row_groups), (column_views, column_groups) = rows, columns
    cross, same = (weights[row_views][:, column_views] for weights in table)
    return torch.where(row_groups[:, None] == column_groups, same, cross)


def total_of_views(parts: Mapping[str, Tensor], beta: float) -> Tensor:
    """The mean over the views, `beta` on all but `forward`."""
    return torch.stack([part if view == "forward" else beta * part for view, part in parts.items()]).mean()


def check_weight(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number >= 0, found {value}")


def _off_diagonal(false_negatives: Tensor, n: int) -> Tensor:
    """The mask without its diagonal: a positive is never left out."""
    if false_negatives.shape != (n, n) or false_negatives.dtype != torch.bool:
        raise ValueError(
            f"false_negatives must be a boolean tensor of shape {(n, n)} (rows audio, columns text), "
            f"found shape {tuple(false_negatives.shape)} and dtype {false_negatives.dtype}"
        )
    return false_negatives & ~torch.eye(n, dtype=torch.bool, device=false_negatives.device)


def _checked_views(audio_embeds: Mapping[str, Tensor], text_embeds: Mapping[str, Tensor]) -> list[str]:
    """The views present, in the fixed order; raises ValueError unless both sides agree."""
    unknown = sorted((audio_embeds.keys() | text_embeds.keys()) - set(VIEWS))
    if unknown:
        raise ValueError(f"unknown views {unknown}; known are {list(VIEWS)}")
    if not audio_embeds or audio_embeds.keys() != text_embeds.keys():
        raise ValueError(
            "audio_embeds and text_embeds must hold the same views, at least one; "
            f"found audio {sorted(audio_embeds)} and text {sorted(text_embeds)}"
        )
    views = [view for view in VIEWS if view in audio_embeds]
    for view in views:
        for side, embeds in (("audio_embeds", audio_embeds), ("text_embeds", text_embeds)):
            _check_shapes(f"audio_embeds[{views[0]!r}]", audio_embeds[views[0]], f"{side}[{view!r}]", embeds[view])
    return views


def _check_shapes(first_name: str, first: Tensor, second_name: str, second: Tensor) -> None:
    if first.dim() != 2 or first.shape != second.shape or first.numel() == 0:
        raise ValueError(
            f"embeddings must be non-empty and share one shape (rows, dimensions), found {first_name} "
            f"{tuple(first.shape)} and {second_name} {tuple(second.shape)}"
        )
