"""`teminal demo`."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="post-trained checkpoint: folder or Hub id (default: the newest run in runs/)")
    parser.add_argument("--base", help="what to compare it with (default: what its run.json says it started from)")
    parser.add_argument("--port", type=int, help="of 127.0.0.1 (default: the first free one from 7860)")
    parser.add_argument("--push", metavar="NAME", help="publish the page as this Space; needs a --model on the Hub")
    parser.set_defaults(run_command=_demo)


def _demo(arguments: argparse.Namespace) -> None:
    from teminal_hf.errors import ConfigError
    from teminal_hf.runs.lineage import recorded_base
    from teminal_hf.runs.run_folder import newest_run
    from teminal_hf.tools import page
    from teminal_hf.tools.space import push_space

    port: int | None = arguments.port
    if port is not None and not 1 <= port <= 65_535:
        raise ConfigError(f"--port must be between 1 and 65535, got {port}")
    model = arguments.model or str(newest_run())
    base = arguments.base or recorded_base(model)
    if base == model:
        raise ConfigError(f"{model} would be compared with itself; name a post-trained checkpoint with --model")
    if arguments.push:
        print(push_space(arguments.push, model, base))
    else:
        print(f"base: {base}, post-trained: {model}", flush=True)
        page.serve(page.build(model, base), port)
