"""The model card of a run: what its run.json, config.yaml and zste.json say, and nothing else."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from teminal_hf.errors import NotFoundError
from teminal_hf.evaluation.legend import KNOWN, LEFT_OUT, LEFT_OUT_OF_ALL, meaning_of, single_sounds
from teminal_hf.evaluation.report import ROWS, comparison_table
from teminal_hf.evaluation.verdict import verdict
from teminal_hf.hub.cards import CARD, CITATION, DATASET, PAPER, public_name, render_card
from teminal_hf.models.checkpoint import CLAP_MINI
from teminal_hf.runs.run_folder import read_record
from teminal_hf.runs.settings import METHOD
from teminal_hf.storage.records import read_json

logger = logging.getLogger(__name__)


def write_card(folder: Path, repo_id: str) -> None:
    """Write `README.md` of the finished run in `folder`, to be pushed to `repo_id`; one that was edited by hand since
    is left as it is."""
    path = folder / CARD
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        written_for = re.search(r'Model\.from_pretrained\("([^"]+)"\)', text)
        if written_for is None or text != model_card(folder, written_for[1]):
            logger.warning("%s was edited and is kept; if it names another repository than %s, mend it", path, repo_id)
            return
    path.write_text(model_card(folder, repo_id), encoding="utf-8")


def model_card(folder: Path, repo_id: str) -> str:
    """The card's text.

    Raises:
        NotFoundError: `folder` holds no run.
    """
    record = read_record(folder)
    if not record:
        raise NotFoundError(f"{folder} holds no run: run.json is missing")
    extractor = read_json(folder / "processor_config.json", {"feature_extractor": {}})["feature_extractor"]
    architecture = "CLAP" if "max_length_s" in extractor else "PE-Audio"
    table = _comparison(folder)
    stages = [_stage(facts) for facts in (*record.get("history", ()), record)]
    licence = _licence(stages, record["base"])
    data = ModelCardData(
        model_name=repo_id.split("/")[-1],
        license=licence,
        license_name="that-of-base-and-data" if licence == "other" else None,
        library_name="transformers",
        base_model=record["base_on_hub"],
        tags=[
            architecture.lower(),
            "audio",
            "audio-text",
            "temporal",
            "zero-shot-audio-classification",
            f"arxiv:{PAPER}",
        ],
        eval_results=_eval_results(table, record),
    )
    return render_card(
        "model.md.jinja",
        data,
        repo_id=repo_id,
        base=record["base_name"],
        temporal=any(stage["stage"] in ("stage_a", "stage_b") for stage in stages),
        version=record["versions"]["teminal_hf"],
        citation=CITATION.strip(),
        stages=stages,
        table=comparison_table({"after": table}).markdown() if table else "",
        verdict=verdict(table, record["stage"]) if table else "",
        retention={row: (table[row], meaning_of(row)) for row in single_sounds(table)},
        architecture=architecture,
        seconds=extractor.get("max_length_s"),
        sampling_rate=extractor["sampling_rate"],
        licence=licence,
        non_commercial=any(stage["licence"] == "cc-by-nc-3.0" for stage in stages),
        layers=list(dict.fromkeys(layer for stage in stages for layer in stage["layers"])),
        paper=PAPER,
    )


def _comparison(folder: Path) -> dict[str, Any]:
    path = folder / "zste.json"
    return read_json(path, {"comparison": ROWS})["comparison"] if path.is_file() else {}


def _stage(facts: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in facts.get("settings", {}).items() if name in METHOD}
    return {
        "name": facts["stage"].replace("_a", " A").replace("_b", " B").replace("_", " "),
        "stage": facts["stage"],
        "source": facts["source_name"],
        "pairs": facts["pairs_name"],
        "folds": facts.get("folds", {}),
        "seed": facts["seed"],
        "steps": facts.get("steps"),
        "seconds": facts.get("train_seconds"),
        "trained": facts["trained"],
        "layers": _layers(facts["trained_tensors"]),
        "licence": facts.get("licence"),
        "settings": settings,
    }


def _layers(tensors: Sequence[str]) -> list[str]:
    """The modules that the trained tensors belong to, down to the block or layer."""
    names = []
    for tensor in tensors:
        parts = tensor.removeprefix("base_model.model.").split(".")
        numbers = [i for i, part in enumerate(parts) if part.isdigit()]
        names.append(".".join(parts[: numbers[-1] + 1] if numbers else parts[:1] + parts[1:-1]))
    return list(dict.fromkeys(names))


def _licence(stages: Sequence[Mapping[str, Any]], base: str) -> str:
    licences = {stage["licence"] for stage in stages}
    if "cc-by-nc-3.0" in licences and None not in licences:
        return "cc-by-nc-3.0"
    return "apache-2.0" if licences == {"apache-2.0"} and base == CLAP_MINI else "other"


def _eval_results(table: Mapping[str, Any], record: Mapping[str, Any]) -> list[EvalResult] | None:
    folds = ", ".join(map(str, record.get("folds", {}).get("test", ())))
    data = DATASET if record["licence"] == "cc-by-nc-3.0" else public_name(record["source"])
    further = {row: row.removeprefix(f"{KNOWN} ") for row in table if row.startswith(f"{KNOWN} ")}
    further = {row: name for row, name in further.items() if row not in (LEFT_OUT, LEFT_OUT_OF_ALL)}
    results = [
        EvalResult(
            task_type="zero-shot-audio-classification",
            task_name="ZSTE, zero-shot temporal evaluation",
            dataset_type=further.get(task, data),
            dataset_name=further.get(task, f"ZSTE on fold {folds} of {record['source_name']}"),
            dataset_config=None if task in further else "zste",
            dataset_split=None if task in further else "test",
            metric_type="accuracy" if row["chance"] is not None else task,
            metric_name=f"{task}, accuracy" if row["chance"] is not None else task,
            metric_value=round(row["post_accuracy"], 4),
        )
        for task, row in table.items()
    ]
    return results or None
