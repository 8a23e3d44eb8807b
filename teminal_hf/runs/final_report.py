"""The figures of a finished run: its base and its result on the same items."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState

from teminal_hf.clips.table import ClipTable
from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.evaluation.known import Evaluation, evaluation
from teminal_hf.evaluation.plotting import bar_chart
from teminal_hf.evaluation.report import compare_reports, comparison_table, to_json
from teminal_hf.evaluation.verdict import verdict
from teminal_hf.models.checkpoint import load_checkpoint
from teminal_hf.models.embed import encoder_of
from teminal_hf.models.towers import SplitPoint
from teminal_hf.runs.arguments import Config
from teminal_hf.runs.lineage import left_out_families
from teminal_hf.runs.training_data import TrainingData
from teminal_hf.storage.atomic import write_json

FIGURES, PICTURE = "zste.json", "zste.png"


def evaluators(
    config: Config,
    data: TrainingData,
    further: Mapping[str, ClipTable] | None = None,
    history: Sequence[Mapping[str, Any]] = (),
) -> tuple[ZsteEvaluator | None, Evaluation | None]:
    """ZSTE during training, on the validation clips, and at the end, on the test clips, with what was known (R0),
    of the recordings `further` as well, and with families of wordings: by default those that neither this run nor the
    stages before it, `history`, were trained on; None where there are no clips."""
    run = config.run
    families = run.families or left_out_families({"stage": config.stage, "settings": config.given, "history": history})
    asked = (
        (data.validation_clips, run.eval_groups, run.eval_tasks, (), False),
        (data.test_clips, run.report_groups, run.report_tasks, families, run.retrieval),
    )
    made = [
        None
        if clips is None or data.settings is None
        else ZsteEvaluator(
            clips,
            data.settings,
            n_groups=None if n_groups is None else min(n_groups, len(clips)),
            seed=run.report_seed,
            tasks=tasks,
            families=families,
            retrieval=retrieval,
        )
        for clips, n_groups, tasks, families, retrieval in asked
    ]
    during, final = made
    if final is None:
        return during, None
    with PartialState().local_main_process_first():  # the others read what it has decoded
        return during, evaluation(final, further, run.known_names or None, config.data.left_out_classes)


def figures_of(
    evaluator: ZsteEvaluator | None, processor: Any, split_point: SplitPoint | None
) -> Callable[..., Any] | None:
    """What the trainer calls at every evaluation: a model -> {task: accuracy}; None without an evaluator."""
    return None if evaluator is None else lambda model: evaluator(encoder_of(model, processor), split_point).figures()


def report(config: Config, base_name: str, evaluator: Evaluation, folder: Path) -> None:
    """R0 and ZSTE of the base and of the model that was saved: printed with a verdict, `zste.json`, `zste.png`."""
    encoders = [encoder_of(*load_checkpoint(name)) for name in (base_name, str(folder))]
    for encoder in encoders:
        encoder.model.to(config.training.device)
    # Both have one prefix: it is computed once.
    before, after = (to_json(evaluator(encoder, config.run.split_point)) for encoder in encoders)
    rows = compare_reports(before, [after])
    outcome = verdict(rows, config.stage)
    write_json(folder / FIGURES, {"before": before, "after": after, "comparison": rows, "verdict": outcome})
    stage, folds = config.stage.replace("_", " "), sorted(set(evaluator.zste.clips.folds))
    bar_chart(rows, folder / PICTURE, f"ZSTE before and after {stage}, fold {', '.join(map(str, folds))}")
    print(f"\nZSTE, {base_name} before and after {stage} ({folder})\n")
    print(f"{comparison_table({'after': rows}).markdown()}\n\n{outcome}\n")
