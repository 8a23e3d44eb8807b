"""One process of a run of several, under `python -m torch.distributed.run`: `teminal` with the arguments that this file
is given, ended where the environment's FAULT says."""

import json
import os
import sys
from pathlib import Path

from faults.interruptions import Watch
from teminal_hf.commands.cli import main

if __name__ == "__main__":
    rank, folder = int(os.environ["RANK"]), Path.cwd()
    (folder / f"pid-{rank}").write_text(str(os.getpid()))
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / f"{name}-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), number)
    end = json.loads(os.environ["FAULT"])
    ours = end.pop("rank", None) == rank
    folders = {"run": folder / "run", "cache": folder / "cache"}
    Watch(folders, folder / f"writes-{rank}.txt", **(end if ours else {}))
    main(sys.argv[1:])
