"""Fine-tune CLAP on your own audio and captions, contrastively: stage B's trainer with one view.

    accelerate launch recipes/plain_pairs.py --model laion/clap-htsat-unfused --source my_org/my_captions

`--source` is any Hub or local data set with an `audio` and a `text` column (`--audio_column`, `--text_column` name
others): parquet, csv or jsonl files with the paths of sounds, a folder of sounds with a metadata.csv, a saved data set.
A recording may have several captions: of a list in its row each epoch says another one, rows of their own are all
heard in an epoch. Equal captions, and captions of one recording, are no negatives of one another. With `--streaming`
the source is read in passing, shard by shard, and nothing of it is kept. `plain_pairs.yaml` beside this file holds the
defaults; any key of it is a flag too; `--help` lists them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState
from transformers import set_seed

from teminal_hf.commands.door import door
from teminal_hf.models.checkpoint import load_checkpoint
from teminal_hf.models.embed import check_text_tower
from teminal_hf.models.stages import apply_stage
from teminal_hf.runs.arguments import read_config
from teminal_hf.runs.cached_prefix import cache_or_recompute, rows_to_train_on
from teminal_hf.runs.lineage import facts_of, starting_point
from teminal_hf.runs.model_card import write_card
from teminal_hf.runs.publishing import open_repository, publish
from teminal_hf.runs.run import Run
from teminal_hf.runs.training_data import caption_pair_data, reference_of, warn_of_long_captions, with_length
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.trainer import TeminalTrainer


def fine_tune(argv: Sequence[str], defaults: Path) -> Path:
    """One run, from its arguments to its folder, which is returned."""
    config = read_config("plain_pairs", argv, defaults)
    set_seed(config.training.seed)
    start = starting_point(config)
    model, processor = load_checkpoint(start.checkpoint)
    check_text_tower(model, processor)
    data = caption_pair_data(config, processor.feature_extractor)
    config = with_length(config, data)
    warn_of_long_captions(data, processor)
    hub_model_id = open_repository(config)
    tuned, trainable = apply_stage(model, config.run.policy())
    with Run.open(config.stage, config.output_dir) as run:
        run.begin(config.given, facts_of(config, start, trainable, data))
        if not run.has("weights"):
            reference = reference_of(config, start.checkpoint, tuned, processor, data)
            collator = GroupCollator.of(processor, config.training)
            config = cache_or_recompute(config, run, tuned, collator, data)
            args = config.training_arguments(run.folder, hub_model_id)
            train, _, collate = rows_to_train_on(config, tuned, collator, data, reference)
            trainer = TeminalTrainer(
                tuned,
                args,
                data_collator=collate,
                train_dataset=train,
                processing_class=processor,
                reference=reference,
            )
            trainer.train(resume_from_checkpoint=run.checkpoint() if config.run.resume else None)
            if trainer.is_world_process_zero():
                run.save(tuned, processor, trainer.state)
        if PartialState().is_main_process:
            run.once("card", lambda: write_card(run.folder, hub_model_id or run.folder.name))
            run.once("push", lambda: publish(config, run.folder, hub_model_id))
            run.complete()
    return run.folder


if __name__ == "__main__":
    with door():
        fine_tune(sys.argv[1:], Path(__file__).with_suffix(".yaml"))
