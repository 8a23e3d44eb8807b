"""Fine-tune CLAP on your own audio and captions, contrastively: stage B's trainer with one view.

    accelerate launch recipes/plain_pairs.py --model laion/clap-htsat-unfused --source my_org/my_captions

`--source` is any Hub or local data set with an `audio` and a `text` column (`--audio_column`, `--text_column` name
others). Equal captions in a batch are no negatives of one another. `plain_pairs.yaml` beside this file holds the
defaults; any key of it is a flag too; `--help` lists them.
"""

import sys
from pathlib import Path

from teminal_hf.runs.post_train import main

if __name__ == "__main__":
    main("plain_pairs", sys.argv[1:], Path(__file__).with_name("plain_pairs.yaml"))
