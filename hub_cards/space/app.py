"""The page of `teminal demo` as a Space: `models.json` beside this file names the checkpoints, TEMINAL_MODEL and
TEMINAL_BASE name others."""

import json
import os
from pathlib import Path

from teminal_hf.tools import page as demo

staged = Path(__file__).with_name("models.json")
named = json.loads(staged.read_text(encoding="utf-8")) if staged.is_file() else {"base": "clap-mini"}
model, base = os.environ.get("TEMINAL_MODEL") or named.get("model"), os.environ.get("TEMINAL_BASE") or named["base"]
if not model:
    raise SystemExit("name the post-trained checkpoint in TEMINAL_MODEL (and its base in TEMINAL_BASE)")
demo.serve(demo.build(model, base))
