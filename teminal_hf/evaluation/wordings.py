"""ZSTE's questions of order (3O) and of what is heard at once (3B), in every phrasing of the table of captions."""

from collections.abc import Collection, Mapping

from teminal_hf.data.captions import CONNECTIVES
from teminal_hf.evaluation.evaluator import ZsteReport
from teminal_hf.evaluation.tables import Cell, Figure, Table
from teminal_hf.evaluation.zste import wilson_interval

NOTES = (
    "Percent; higher is better. Chance is what guessing reaches. Brackets are Wilson's 95 % intervals; every phrasing "
    "is asked about the same recordings.",
    "",
    "- where chance is 50: two sounds in sequence, the caption against the one with the sounds exchanged (3O)",
    '- where chance is 33.3: two sounds overlaid, the caption against "X before Y" and "Y before X" (3B)',
    "- trained: whether the model's run.json says so, of it or of what it started from; empty without one",
)


def wordings_table(reports: Mapping[str, ZsteReport], trained: Collection[str] | None) -> Table:
    """A row for each phrasing, a column for each model.

    Args:
        reports: by heading, of a `ZsteEvaluator` with the items of `plan_wordings`.
        trained: connectives that the last model was trained on; None where nothing says.
    """
    first, *_ = reports.values()
    rows: dict[str, list[Cell]] = {}
    for task, wordings in first.wording.items():
        chance, n = first.results[task]["chance"], first.results[task]["n"] // len(wordings)
        for name in wordings:
            means = [report.wording[task][name] for report in reports.values()]
            is_trained = None if trained is None else "yes" if name in trained else "no"
            cells = [Figure(mean, wilson_interval(round(mean * n), n)) for mean in means]
            row = CONNECTIVES[name].template.format(first="X", second="Y")
            rows[row] = [CONNECTIVES[name].family, is_trained, Figure(chance), n, *cells]
    return Table(("family", "trained", "chance", "n", *reports), rows, NOTES, of="wording")
