"""The metric's page: scores in, results out (`evaluate.utils.launch_gradio_widget` needs a Gradio of long ago)."""

import json
from pathlib import Path
from typing import Any

import evaluate
import gradio

EXAMPLE = {"predictions": [[0.3, 0.1], [0.2, 0.4]], "references": [[0], [0]], "tasks": ["3O", "3O"]}
HERE = Path(__file__).parent


def compute(text: str) -> dict[str, Any]:
    """Results for `{"predictions": ..., "references": ..., "tasks": ...}` as JSON."""
    try:
        return evaluate.load(str(HERE / "zste.py")).compute(**json.loads(text)) or {}
    except (ValueError, TypeError) as error:
        raise gradio.Error(str(error)) from error


def page() -> gradio.Blocks:
    card = (HERE / "README.md").read_text(encoding="utf-8").split("---\n", 2)[-1]
    with gradio.Blocks(title="ZSTE", analytics_enabled=False) as blocks:
        scores = gradio.Code(json.dumps(EXAMPLE, indent=1), language="json", label="scores, right indices, tasks")
        results = gradio.JSON(label="results")
        gradio.Button("Compute", variant="primary").click(compute, scores, results)
        gradio.Markdown(card)
    return blocks


if __name__ == "__main__":
    page().launch()
