"""The data of a run read through the cache of frozen prefixes."""

from collections.abc import Sequence

import torch
from torch import nn

from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.evaluation.known import Evaluation
from teminal_hf.models.embed import encoder_of
from teminal_hf.models.frozen_prefix import announce
from teminal_hf.runs.arguments import Config
from teminal_hf.runs.training_data import TrainingData
from teminal_hf.training.cached_groups import CachedGroups
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.retention import Reference


def through_prefix(
    config: Config,
    model: nn.Module,
    collator: GroupCollator,
    data: TrainingData,
    evaluators: Sequence[ZsteEvaluator | Evaluation | None],
    reference: Reference | None = None,
) -> tuple[CachedGroups, CachedGroups | None]:
    """Training and validation rows with what the frozen layers say of them, computed where it is missing, as it is for
    the reference. The room that the whole run needs on disk, its evaluations included, is asked for first."""
    args, split_point = config.training, config.run.policy().split_point
    model.to(args.device)
    with torch.autocast(args.device.type, torch.bfloat16, enabled=args.bf16):  # as the Trainer would run it
        train, validation = (
            None if rows is None else CachedGroups(model, split_point, rows, collator, dtype=config.run.cache_dtype)
            for rows in (data.train, data.validation)
        )
        parts = [part for part in (train, validation, reference) if part is not None]
        stores = [store for part in parts for store in part.stores]
        with torch.autocast(args.device.type, enabled=False):
            stores += [
                store
                for evaluator in evaluators
                if evaluator is not None
                for store in evaluator.stores(encoder_of(model, collator.processor), split_point)
            ]
        announce(*stores)
        for part in parts:
            part.fill(args.dataloader_num_workers)
    assert train is not None
    return train, validation
