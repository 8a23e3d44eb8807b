"""Stage A: a recording can hold more than one sound. Trains the last layers of a CLAP model on one and two sounds.

    accelerate launch recipes/stage_a.py [CONFIG.yaml] [--flag value ...]

`stage_a.yaml` beside this file holds the defaults (clap-mini on the synthetic sound bank, a few minutes on two cores);
`recipes/esc50_base/` and `recipes/laion/` hold those for real clips. Any key is a flag too; `--help` lists them.

The steps are those of `stage_b.py`; the views are others: one sound, or two, in sequence or overlaid.
"""

import sys
from pathlib import Path
from runpy import run_path

from teminal_hf.commands.door import door

post_train = run_path(str(Path(__file__).with_name("stage_b.py")))["post_train"]

if __name__ == "__main__":
    with door():
        post_train("stage_a", sys.argv[1:], Path(__file__).with_suffix(".yaml"))
