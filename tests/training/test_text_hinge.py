"""The hinge between captions of both orders: its definition by loops, and its part of a training's loss."""

from pathlib import Path

import pytest
import torch

from support.tiny import STAGE_B, groups, trainer
from teminal_hf.errors import ConfigError
from teminal_hf.training.losses import text_hinge


def cosine(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(x @ y / (x.norm() * y.norm()))


def slow(captions: torch.Tensor, order: list[torch.Tensor]) -> float:
    """Oncescu et al.: two others that say the same, each against one that says the other order."""
    total = 0.0
    for i, caption in enumerate(captions):
        for same, other in ((0, 2), (1, 3)):
            total += max(0.0, 0.2 - cosine(caption, order[same][i]) + cosine(caption, order[other][i]))
    return total / len(captions)


def test_it_is_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    captions, *order = (torch.randn(9, 6, generator=generator) for _ in range(5))
    assert text_hinge(captions, order).item() == pytest.approx(slow(captions, order), rel=1e-5)
    assert text_hinge(3 * captions, [2 * each for each in order]).item() == pytest.approx(
        slow(captions, order), rel=1e-5
    )
    same, opposite = [captions, captions, -captions, -captions], [-captions, -captions, captions, captions]
    assert text_hinge(captions, same).item() == 0
    assert text_hinge(captions, opposite).item() == pytest.approx(2 * 2.2, rel=1e-5)


def test_it_is_a_part_of_the_loss_of_both_orders(tmp_path: Path) -> None:
    """Against the whole model's embeddings of the captions, said apart."""
    rows = groups(6, STAGE_B)
    t = trainer(tmp_path, train_dataset=rows, text_hinge=0.7)
    without = trainer(tmp_path, train_dataset=rows)
    losses = [each.compute_loss(each.model.train(), each.data_collator(rows)).item() for each in (without, t)]
    tokenizer = t.data_collator.processor.tokenizer

    def embedded(captions: list[str]) -> torch.Tensor:
        with torch.no_grad():
            return (
                t.model.eval().get_text_features(**tokenizer(captions, padding=True, return_tensors="pt")).pooler_output
            )

    truth = 0.0
    for view, (x, y) in (("forward", ("label_a", "label_b")), ("reversed", ("label_b", "label_a"))):
        names = [[row[key].replace("_", " ") for row in rows] for key in (x, y)]
        said = [[f.format(*pair) for pair in zip(*names, strict=True)] for f in ("{0} before {1}", "{1} after {0}")]
        said += [[f.format(*pair) for pair in zip(*names, strict=True)] for f in ("{1} before {0}", "{0} after {1}")]
        truth += slow(embedded([row[f"{view}_caption"] for row in rows]), [embedded(each) for each in said]) / 2
    assert truth > 0.1
    assert losses[1] - losses[0] == pytest.approx(0.7 * truth, rel=1e-3)
    evaluated = [each.compute_loss(each.model.eval(), each.data_collator(rows)).item() for each in (without, t)]
    assert evaluated[0] == evaluated[1]


def test_it_needs_both_orders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="text_hinge needs the views forward and reversed"):
        trainer(tmp_path, views=["forward", "overlay"], text_hinge=1.0)
    with pytest.raises(ConfigError, match="text_hinge must not be negative"):
        trainer(tmp_path, text_hinge=-1.0)
