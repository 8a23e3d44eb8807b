"""Stage B: before, after or while? Trains a CLAP's last layers on pairs of sounds in both orders and overlaid.

    accelerate launch recipes/stage_b.py [CONFIG.yaml] [--flag value ...]

`stage_b.yaml` beside this file holds the defaults (clap-mini on the synthetic sound bank, a few minutes on two cores);
`recipes/esc50_base/` and `recipes/laion/` hold those for real clips. Any key is a flag too; `--help` lists them. It
goes on from stage A's output if there is one. Stage A takes the same steps with other views.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState
from transformers import set_seed

from teminal_hf.commands.door import door
from teminal_hf.evaluation.known import further_clips
from teminal_hf.models.checkpoint import load_checkpoint
from teminal_hf.models.embed import check_text_tower
from teminal_hf.models.stages import apply_stage
from teminal_hf.runs.arguments import read_config
from teminal_hf.runs.cached_prefix import cache_or_recompute, rows_to_train_on
from teminal_hf.runs.final_report import evaluators, figures_of, report
from teminal_hf.runs.lineage import facts_of, starting_point
from teminal_hf.runs.model_card import write_card
from teminal_hf.runs.publishing import open_repository, publish
from teminal_hf.runs.run import Run
from teminal_hf.runs.training_data import group_data, reference_of, warn_of_long_captions
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.trainer import TeminalTrainer


def post_train(stage: str, argv: Sequence[str], defaults: Path) -> Path:
    """One run of `stage` ("stage_a" or "stage_b"), from its arguments to its folder, which is returned."""
    # 1. Configuration: the YAML file, then the flags.
    config = read_config(stage, argv, defaults)
    set_seed(config.training.seed)

    # 2. Clips, and the starting point: the base, or what stage A made of it.
    clips = config.data.load()
    folds = config.data.folds(clips)
    further = further_clips(config.run.known, config.data, config.run.known_names or None)
    start = starting_point(config, folds)
    model, processor = load_checkpoint(start.checkpoint)
    check_text_tower(model, processor)

    # 3. Data: groups of two clips, rendered as they are asked for; ZSTE's clips are of other folds.
    data = group_data(config.parts[0], clips, folds, processor.feature_extractor)
    eval_evaluator, final_evaluator = evaluations = evaluators(config, data, further, start.history)
    hub_model_id = open_repository(config)

    # 4. Stage: the last layers are trained, all others frozen.
    tuned, trainable = apply_stage(model, config.run.policy())
    with Run.open(config.stage, config.output_dir) as run:
        run.begin(config.given, facts_of(config, start, trainable, data))
        parts = () if run.has("weights") else zip(config.parts, (None, *config.parts), strict=False)
        for part, before in parts:
            phase = "" if part is config.parts[-1] else part.phase
            folder = run.part(phase)
            if phase and run.has(phase):
                continue
            if before is not None:  # from what it has saved, whether it was trained by this process or by another
                set_seed(part.training.seed)  # for adapters begin at random
                tuned, _ = apply_stage(load_checkpoint(str(run.folder / before.phase))[0], config.run.policy())
                data = group_data(part, clips, folds, processor.feature_extractor)

            # 5. The frozen layers, computed once and read back in every epoch; what the base knows, to be kept.
            warn_of_long_captions(data, processor)
            reference = reference_of(part, start.base, tuned, processor, data)
            collator = GroupCollator.of(processor, part.training)
            part = cache_or_recompute(part, run, tuned, collator, data)
            args = part.training_arguments(folder, hub_model_id, last=not phase)
            train, validation, collate = rows_to_train_on(part, tuned, collator, data, reference, evaluations)

            # 6. Training.
            trainer = TeminalTrainer(
                tuned,
                args,
                data_collator=collate,
                train_dataset=train,
                eval_dataset=validation,
                processing_class=processor,
                reference=reference,
                pairs=data.pairs,
                pairs_workers=part.training.dataloader_num_workers,
                zste=figures_of(eval_evaluator, processor, config.run.split_point),
                goes_on=before is not None,
            )
            trainer.train(resume_from_checkpoint=run.checkpoint() if config.run.resume else None)
            if trainer.is_world_process_zero():
                run.save(tuned, processor, trainer.state, phase)
            PartialState().wait_for_everyone()

        # 7. Report, card, push: each is done once, whatever stops the run in between.
        if PartialState().is_main_process:
            if final_evaluator is not None:
                run.once("report", lambda: report(config, start.base, final_evaluator, run.folder))
            run.once("card", lambda: write_card(run.folder, hub_model_id or run.folder.name))
            run.once("push", lambda: publish(config, run.folder, hub_model_id))
            run.complete()
    return run.folder


if __name__ == "__main__":
    with door():
        post_train("stage_b", sys.argv[1:], Path(__file__).with_suffix(".yaml"))
