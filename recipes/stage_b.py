"""Stage B of TeminAL: before, after, while.

    accelerate launch recipes/stage_b.py
    accelerate launch recipes/stage_b.py recipes/esc50_base/stage_b.yaml --model MODEL --data_dir ESC50

Without a YAML file the embedded default runs (`stage_b.yaml` beside this file): clap-mini and the sound bank, nothing
to download. Any key of the YAML file is a flag too; flags override; `--help` lists them. Forward, reversed and overlaid
views of each pair are contrasted by the modified InfoNCE (`temporal_contrastive_loss`). It goes on from stage A's
output when there is one of the same base, else from the base, and says which. The run folder holds a plain `ClapModel`
checkpoint, the configuration, and ZSTE before and after.
"""

import sys
from pathlib import Path

from teminal_hf.runs.post_train import main

if __name__ == "__main__":
    main("stage_b", sys.argv[1:], Path(__file__).with_name("stage_b.yaml"))
