"""`teminal metric push`."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    push = actions.add_parser("push", help="as a Space that evaluate.load reads")
    push.add_argument(
        "--to", required=True, metavar="NAME", help="the Space's name, which must end in zste or clap_order"
    )
    push.add_argument("--private", action="store_true", default=None, help="if it has to be made")
    push.set_defaults(run_command=_push)


def _push(arguments: argparse.Namespace) -> None:
    from teminal_hf.integrations.publishing import push_metric

    print(push_metric(arguments.to, private=arguments.private))
