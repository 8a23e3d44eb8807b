"""Stage A of TeminAL: a recording can hold more than one sound.

    accelerate launch recipes/stage_a.py
    accelerate launch recipes/stage_a.py recipes/esc50_base/stage_a.yaml --model MODEL --data_dir ESC50

Without a YAML file the embedded default runs (`stage_a.yaml` beside this file): clap-mini and the sound bank, nothing
to download. Any key of the YAML file is a flag too; flags override; `--help` lists them. One clip ("the sound of X") is
contrasted with two, in sequence or overlaid ("the sound of X and Y"), by symmetric InfoNCE. Training touches the last
audio block, the last text layer, the projections and the logit scale unless told otherwise. The run folder holds a
plain `ClapModel` checkpoint, the configuration, and ZSTE before and after.
"""

import sys
from pathlib import Path

from teminal_hf.runs.post_train import main

if __name__ == "__main__":
    main("stage_a", sys.argv[1:], Path(__file__).with_name("stage_a.yaml"))
