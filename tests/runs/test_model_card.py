"""Cards word for word, and what the Hub makes of their headers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from support.paths import GOLDEN, ROOT
from teminal_hf.evaluation import zste
from teminal_hf.evaluation.zste import wilson_interval
from teminal_hf.hub.cards import CITATION
from teminal_hf.integrations.publishing import metric_card, order_metric_card
from teminal_hf.models.checkpoint import CLAP_MINI, load_clap, save_checkpoint
from teminal_hf.runs.model_card import model_card

TRAINED = {"count": 3_008_905, "total": 25_650_000, "share": 0.1173}
TENSORS = ["audio_model.audio_encoder.layers.2.blocks.1.output.dense.weight", "text_projection.linear1.weight"]
TENSORS += ["audio_model.audio_encoder.layers.2.blocks.1.output.dense.bias", "text_projection.linear2.weight"]
TENSORS += ["text_model.encoder.layer.5.output.dense.weight", "logit_scale_a"]


def row(base: float, post: float, chance: float | None, n: int = 400) -> dict[str, Any]:
    def side(accuracy: float) -> dict[str, Any]:
        return {"accuracy": accuracy, "ci95": list(wilson_interval(accuracy * n, n))}

    return {
        "chance": chance,
        "n": n,
        "base": side(base) if chance is not None else {"accuracy": base},
        "post": side(post) if chance is not None else None,
        "base_accuracy": base,
        "post_accuracy": post,
        "post_seeds": [post],
        "difference": post - base,
        "ci95": [post - base - 0.05, post - base + 0.05],
        "p_value": 0.01,
    }


def write_run(folder: Path, *, base: str, source: str, licence: str | None, table: bool = True) -> Path:
    """A run folder as far as a card reads it."""
    folder.mkdir()
    stage_a = {"stage": "stage_a", "source": source, "seed": 1, "steps": 126, "train_seconds": 31.4, "licence": licence}
    folds = {"train": [1, 2], "validation": [3], "test": [4]}
    stage_a |= {"source_name": Path(source).name, "pairs_name": ""}
    stage_a |= {"folds": folds, "trained": TRAINED, "trained_tensors": TENSORS, "settings": {"n_groups": 2016}}
    settings = {"n_groups": 8000, "alpha_same_time": 10.0, "views": ["forward", "reversed", "overlay", "single"]}
    settings |= {"data_dir": source, "model": base, "push_to_hub": True, "hub_model_id": "somebody/else"}
    settings |= {"project": "secret", "run_name": "mine", "report_groups": 5, "seed": 1, "cache_dtype": "float16"}
    on_hub = None if base.startswith(("/", "clap-mini")) else base
    record = {"base_on_hub": on_hub, "base_name": Path(base).name if on_hub is None else base}
    record |= stage_a | {"stage": "stage_b", "steps": 750, "train_seconds": 402.6, "base": base, "settings": settings}
    (folder / "run.json").write_text(
        json.dumps(record | {"history": [stage_a], "complete": True, "versions": {"teminal_hf": "0.1.0"}})
    )
    extractor = {"max_length_s": 10, "sampling_rate": 48_000, "padding": "pad"}
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": extractor}))
    if table:
        rows = {"1": row(0.637, 0.552, 0.02), "3O": row(0.452, 0.794, 0.5), "order_average": row(-0.064, 0.26, None)}
        rows["1_tiled"] = row(0.642, 0.61, 0.02)
        rows = {"R0": row(0.636, 0.61, 0.02), "R0 foreign": row(0.442, 0.43, 0.1, n=185)} | rows
        (folder / "zste.json").write_text(json.dumps({"comparison": rows}))
    return folder


def compare(text: str, golden: Path, regenerate: bool) -> None:
    if regenerate:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), f"not {golden}; if it should be: pytest --regenerate-golden"


def test_the_citation_is_one() -> None:
    assert zste.CITATION == CITATION  # zste.py stands alone, so it holds a copy


def test_model_card(tmp_path: Path, regenerate_golden: bool) -> None:
    base, esc50 = tmp_path / "base", tmp_path / "ESC-50"
    base.mkdir()
    esc50.mkdir()
    run = write_run(tmp_path / "run", base=str(base), source=str(esc50), licence="cc-by-nc-3.0")
    text = model_card(run, "somebody/clap-order")
    compare(text, GOLDEN / "model.md", regenerate_golden)
    assert str(tmp_path) not in text  # paths of one machine are nobody's concern


def test_model_card_without_figures_and_from_the_embedded_default(tmp_path: Path, regenerate_golden: bool) -> None:
    run = write_run(tmp_path / "run", base="clap-mini", source="soundbank", licence="apache-2.0", table=False)
    compare(model_card(run, "somebody/mini"), GOLDEN / "model_unjudged.md", regenerate_golden)


@pytest.mark.parametrize(
    ("base", "licence", "said"),
    [
        ("laion/clap-htsat-unfused", "cc-by-nc-3.0", "cc-by-nc-3.0"),
        ("laion/clap-htsat-unfused", "apache-2.0", "other"),
        ("clap-mini", "apache-2.0", "apache-2.0"),
        ("clap-mini", None, "other"),
    ],
)
def test_the_licence_is_that_of_the_data(tmp_path: Path, base: str, licence: str | None, said: str) -> None:
    run = write_run(tmp_path / "run", base=base, source="someone/clips", licence=licence)
    card = ModelCard(model_card(run, "a/b"))
    assert card.data.license == said
    assert card.data.base_model == (None if base == "clap-mini" else base)


def test_the_model_index_is_read_back(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", base="a/b", source="soundbank", licence=None)
    card = ModelCard(model_card(run, "somebody/clap-order"))
    name, results = model_index_to_eval_results(card.data.to_dict()["model-index"])
    assert name == "clap-order"
    assert {result.metric_name: result.metric_value for result in results} == {
        "R0, accuracy": 0.61,
        "R0 foreign, accuracy": 0.43,
        "1, accuracy": 0.552,
        "3O, accuracy": 0.794,
        "order_average": 0.26,
        "1_tiled, accuracy": 0.61,
    }
    assert {result.metric_name: result.dataset_name for result in results}["R0 foreign, accuracy"] == "foreign"


def test_the_cards_code_runs_and_both_ways_rank_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", base="clap-mini", source="soundbank", licence=None)
    model, processor = load_clap(CLAP_MINI)
    save_checkpoint(model, processor, run)
    direct, by_pipeline = re.findall(r"```python\n(.*?)```", model_card(run, str(run)), re.S)
    names: dict[str, Any] = {}
    exec(direct, names)
    exec(by_pipeline, names)
    said = capsys.readouterr().out.splitlines()
    cosines = (names["audio"] @ names["text"].T)[0]
    shares = (model.logit_scale_a.exp() * cosines / names["audio"].norm() / names["text"].norm(dim=1)).softmax(0)
    truth = sorted(zip(shares.tolist(), names["captions"], strict=True), reverse=True)
    assert said[-2:] == [f"{share:.3f}  {caption}" for share, caption in truth]


def test_only_what_describes_the_method_is_listed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", base="clap-mini", source="soundbank", licence=None)
    text = model_card(run, "a/b").partition("## Settings")[2].partition("## ")[0]
    views = "`views` forward reversed overlay single"
    assert text.splitlines()[-2] == f"stage B: `alpha_same_time` 10.0, `n_groups` 8000, {views}"


def test_a_stage_a_is_not_blamed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", base="clap-mini", source="soundbank", licence=None)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"stage": "stage_a", "history": []}))
    (run / "zste.json").write_text(json.dumps({"comparison": {"3O": row(0.5, 0.5, 0.5)}}))
    assert "and stage A is not meant to teach it" in model_card(run, "a/b")


SECTIONS = (
    "Description",
    "How to use",
    "Inputs",
    "Output values",
    "Values from popular papers",
    "Limitations",
    "Citation",
)


def test_metric_card(regenerate_golden: bool) -> None:
    text = metric_card()
    compare(text, ROOT / "hub_cards" / "zste" / "README.md", regenerate_golden)
    assert all(f"\n## {section}" in text for section in SECTIONS)
    assert all(f" {task}" in text for task in zste.TASKS)


def test_order_metric_card(regenerate_golden: bool) -> None:
    text = order_metric_card()
    compare(text, ROOT / "hub_cards" / "clap_order" / "README.md", regenerate_golden)
    assert all(f"\n## {section}" in text for section in SECTIONS)
