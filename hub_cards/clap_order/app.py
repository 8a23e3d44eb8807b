"""The metric's page: a recording and its caption in, the result out."""

from pathlib import Path
from typing import Any

import evaluate
import gradio

EXAMPLE = "a dog barks before rain falls"
HERE = Path(__file__).parent


def compute(recording: str, caption: str, reversal: str, model: str) -> dict[str, Any]:
    """The result of one recording; the reversal may be left empty."""
    given = {"reversed_references": [reversal]} if reversal.strip() else {}
    try:
        metric = evaluate.load(str(HERE / "clap_order.py"))
        return metric.compute(predictions=[recording], references=[caption], model=model, **given) or {}
    except (ValueError, OSError) as error:
        raise gradio.Error(str(error)) from error


def page() -> gradio.Blocks:
    card = (HERE / "README.md").read_text(encoding="utf-8").split("---\n", 2)[-1]
    with gradio.Blocks(title="CLAP order", analytics_enabled=False) as blocks:
        recording = gradio.Audio(type="filepath", label="recording")
        caption = gradio.Textbox(EXAMPLE, label="caption")
        reversal = gradio.Textbox(label="its reversal (empty: by the table of connectives)")
        model = gradio.Textbox("laion/clap-htsat-unfused", label="model")
        result = gradio.JSON(label="result")
        gradio.Button("Compute", variant="primary").click(compute, [recording, caption, reversal, model], result)
        gradio.Markdown(card)
    return blocks


if __name__ == "__main__":
    page().launch()
