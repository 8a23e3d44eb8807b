"""What other pages quote of `results.json`: ratios as ranges over machines, lowest first.

    python benchmarks/headline.py

writes them into README.md and docs/method.md, between their markers; `stage_b.py` does so too.
"""

from collections.abc import Sequence
from typing import Any

from harness import HERE, put, read

BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
AGAINST = {
    "full_finetune_plain": "full fine-tuning, as one would write it",
    "full_finetune": "full fine-tuning, by someone who knows",
    "plain_freezing": "the same tenth by `requires_grad`",
    "lora_all": "peft LoRA on all layers",
    "sentence_transformers": "sentence-transformers 6.2",
}
MEASURES = ("stage_b_10_epochs", "training_step", "peak_memory")

Rows = Sequence[dict[str, Any]]


def write_headlines() -> None:
    rows, root = read(), HERE.parent
    put(root / "README.md", BEGIN, END, headline(rows))
    put(root / "docs" / "method.md", BEGIN, END, f"\n\n{ratios(rows)}\n\n{machines(rows)}\n\n")


def headline(rows: Rows) -> str:
    return f"[{over_machines(rows, 'stage_b_10_epochs_vs_full_finetune')} as fast](docs/method.md#speed)"


def ratios(rows: Rows) -> str:
    """Markdown: against whom, and how many times better on the worst and on the best machine."""
    lines = ["| against | ten epochs | one step | peak memory |", "| --- | ---: | ---: | ---: |"]
    for name, words in AGAINST.items():
        cells = [over_machines(rows, f"{measure}_vs_{name}") for measure in MEASURES]
        if any(cells):
            lines.append(f"| {' | '.join([words, *cells])} |")
    return "\n".join(lines)


def machines(rows: Rows) -> str:
    """Markdown: ten epochs on each machine."""
    lines = []
    for full in sorted(_named(rows, "stage_b_10_epochs_vs_full_finetune"), key=lambda row: row["ratio"]):
        here = f"- {full['hardware']}: {full['baseline']:.3g} s of full fine-tuning become {full['value']:.3g} s, "
        here += f"{full['ratio']:.1f} x"
        for row in _named(rows, "stage_b_10_epochs_vs_plain_freezing"):
            if row["hardware"] == full["hardware"]:
                here += f"; {row['ratio']:.1f} x the same tenth by `requires_grad`"
        lines.append(f"{here} ({_runs(full)})")
    return "\n".join(lines)


def over_machines(rows: Rows, name: str) -> str:
    """ "8.9 to 15.7 x"; "15.7 x" where it was measured on one machine, "" where on none."""
    found = sorted(row["ratio"] for row in _named(rows, name))
    shown = list(dict.fromkeys(f"{ratio:.1f}" for ratio in found))
    return f"{' to '.join(dict.fromkeys((shown[0], shown[-1])))} x" if shown else ""


def _named(rows: Rows, name: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["name"] == name and row["ratio"] is not None]


def _runs(row: dict[str, Any]) -> str:
    if row["n"] is None or row["n"] < 2:
        return "full fine-tuning was measured once"
    return f"medians of {row['n']} runs or more, which lie between {row['min']:.1f} and {row['max']:.1f} x"


if __name__ == "__main__":
    write_headlines()
