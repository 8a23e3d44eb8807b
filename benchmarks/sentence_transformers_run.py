"""The nearest thing to pick instead: sentence-transformers 6.2, which opens a `ClapModel` by its name."""

from collections.abc import Iterator
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import set_seed

from job import Clock, Job, in_memory, make_groups
from teminal_hf.data.views import STAGE_B_VIEWS
from teminal_hf.models.checkpoint import load_clap

# The caption that is nearest and wrong.
HARD_NEGATIVE = {"forward": "reversed", "reversed": "forward", "overlay": "forward"}


class WholeGroups(DefaultBatchSampler):
    """Batches of whole groups, whose three recordings are rendered together: sampled one by one, each would be rendered
    with its two siblings for nothing."""

    def __iter__(self) -> Iterator[list[int]]:
        n = len(STAGE_B_VIEWS)
        rows: Dataset = self.sampler  # what a `BatchSampler` is made of; here the data set
        groups = torch.randperm(len(rows) // n, generator=self.generator).tolist()
        for start in range(0, len(groups), self.batch_size // n):
            yield [n * group + i for group in groups[start : start + self.batch_size // n] for i in range(n)]


def train_sentence_transformer(job: Job, clock: Clock) -> None:
    """Symmetric InfoNCE over the recordings of `job.batch` groups, with reversed captions as hard negatives."""
    with clock.loading():
        set_seed(0)
        _, processor = load_clap(job.checkpoint)
        model = SentenceTransformer(job.checkpoint, device="cpu" if job.cpu else None)
        in_memory(model)
    groups = make_groups(job, processor)

    def render(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        rendered = {group: groups[group] for group in set(rows["group"])}
        chosen = [(rendered[group], view) for group, view in zip(rows["group"], rows["view"], strict=True)]
        return {
            "anchor": [group[view] for group, view in chosen],
            "positive": [group[f"{view}_caption"] for group, view in chosen],
            "negative": [group[f"{HARD_NEGATIVE[view]}_caption"] for group, view in chosen],
        }

    pairs = [{"group": group, "view": view} for group in range(len(groups)) for view in STAGE_B_VIEWS]
    options = job.training() | {"per_device_train_batch_size": len(STAGE_B_VIEWS) * job.batch}
    symmetric = MultipleNegativesRankingLoss(
        model, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**options, batch_sampler=WholeGroups),
        train_dataset=Dataset.from_list(pairs).with_transform(render),
        loss=symmetric,
        callbacks=[clock],
    )
    trainer.train()
    model.save_pretrained(job.folder)
