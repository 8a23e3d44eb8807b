"""YAML files of recipes: `key: value` lines, each value read as the flag of that name reads its text."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import yaml
from transformers.hf_argparser import string_to_bool

from teminal_hf.errors import ConfigError, NotFoundError

_WORDS = {int: "a whole number", float: "a number", str: "text"}
_NO = dict.fromkeys(("no", "off", "false"), "no")
PHASES = "phases"  # by name, each with settings of its own
_SWITCHES = {"on": "true", "off": "false"}  # words of YAML that flags do not know


def true_false_or_auto(text: str) -> bool | None:
    """The value of a switch that may be left to the package: None for "auto".

    Raises:
        ArgumentTypeError: another word.
    """
    return None if text == "auto" else bool(string_to_bool(_SWITCHES.get(text.lower(), text)))


def read_yaml(path: Path, actions: Mapping[str, argparse.Action], annotations: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the file, by key.

    A value is taken as it is written, not as what YAML makes of it (`no` is no, 1e-4 a number), and must be what its
    flag takes; a list may hold one value without its brackets, a mapping stands where JSON may, null where the
    annotation has None. `phases` holds such values by phase.

    Args:
        actions: the flags.
        annotations: the types of the fields behind them.

    Raises:
        NotFoundError: no such file.
        ConfigError: no YAML, a key that is unknown or there twice, or a value of another type; the message names file,
            line, key, value and type.
    """
    if not path.is_file():
        raise NotFoundError(f"no configuration file {path}; the first argument is a YAML file, all others are --flags")
    top = compose(path)
    return {} if top is None else _read(top, path, actions, annotations)


def _read(
    mapping: yaml.MappingNode, path: Path, actions: Mapping[str, argparse.Action], annotations: Mapping[str, Any]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, node in mapping.value:
        where = f"{path}, line {key.start_mark.line + 1}"
        if key.value == PHASES:
            values[PHASES] = {
                name.value: _read(_mapping(settings, path), path, actions, annotations)
                for name, settings in _mapping(node, path).value
            }
            continue
        if key.value not in actions:
            raise ConfigError(f"{where}: unknown key {_shown(key)}; see --help for those there are")
        try:
            values[key.value] = _value(node, actions[key.value], annotations[key.value])
        except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
            wanted = _wanted(actions[key.value], annotations[key.value])
            raise ConfigError(f"{where}: {key.value} must be {wanted}, found {_shown(node)}") from error
    return values


def _mapping(node: yaml.Node, path: Path) -> yaml.MappingNode:
    if isinstance(node, yaml.MappingNode):
        return node
    raise ConfigError(
        f"{path}, line {node.start_mark.line + 1}: {PHASES} must hold a name for each phase and `key: value` lines "
        f"under it, found {_shown(node)}"
    )


def compose(path: Path, what_to_do: str = "") -> yaml.MappingNode | None:
    """The file's mapping, nothing of it interpreted; None for an empty file.

    Raises:
        ConfigError: as `read_yaml`.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8-sig"), yaml.SafeLoader)
        _check_nodes(node, path)
    except ConfigError:
        raise
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"{path} is no YAML: {why}{what_to_do and f'; {what_to_do}'}") from error
    if node is None or isinstance(node, yaml.MappingNode):
        return node
    raise ConfigError(f"{path} must hold `key: value` lines, found {_shown(node)}{what_to_do and f'; {what_to_do}'}")


def keys(node: yaml.MappingNode | None) -> set[str]:
    """Those of a file that `compose` has read, and of its phases."""
    found = {key.value: value for key, value in node.value} if node is not None else {}
    phases = found.get(PHASES)
    inner = [value for _, value in phases.value] if isinstance(phases, yaml.MappingNode) else []
    return set(found).union(*(keys(value) for value in inner if isinstance(value, yaml.MappingNode)))


def as_yaml(values: Mapping[str, Any]) -> str:
    """A configuration as a file that `read_yaml` takes: keys in alphabetical order, phases in their own."""
    return yaml.safe_dump({key: values[key] for key in sorted(values)}, sort_keys=False)


def read_mapping(path: Path) -> dict[str, Any]:
    """A configuration that a run wrote, as YAML has it.

    Raises:
        NotFoundError: no such file.
        ConfigError: as `read_yaml`, of its form.
    """
    if not path.is_file():
        raise NotFoundError(f"{path} is missing: put it back, or run again")
    node = compose(path, "put a whole copy in its place")
    return {} if node is None else yaml.safe_load(yaml.serialize(node))


def _check_nodes(node: yaml.Node | None, path: Path, above: tuple[yaml.Node, ...] = ()) -> None:
    """Raise a ConfigError for a key that is there twice, a tag that stands for code, or a loop of aliases."""
    if node is None:
        return
    where = f"{path}, line {node.start_mark.line + 1}"
    if node in above:
        raise ConfigError(f"{where}: a value that holds itself")
    if node.tag not in yaml.SafeLoader.yaml_constructors:
        raise ConfigError(f"{where}: {node.tag.replace('tag:yaml.org,2002:', '!!')} is no type of a value here")
    seen = set()
    for child in node.value if isinstance(node, yaml.SequenceNode | yaml.MappingNode) else ():
        if isinstance(child, tuple):
            key, child = child
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{where}: a key must be a word, found {_shown(key)}")
            if key.value in seen:
                raise ConfigError(
                    f"{path}, line {key.start_mark.line + 1}: the key {key.value} is there twice; keep one"
                )
            seen.add(key.value)
        _check_nodes(child, path, (*above, node))


def _value(node: yaml.Node, action: argparse.Action, annotation: Any) -> Any:
    kinds = _kinds(annotation)
    if _is_null(node):
        if NoneType not in kinds:
            raise TypeError
        return None
    if isinstance(node, yaml.MappingNode):
        if dict not in kinds:
            raise TypeError
        return yaml.safe_load(yaml.serialize(node))
    if isinstance(node, yaml.SequenceNode):
        if list not in kinds:
            raise TypeError
        return [_scalar(part, action) for part in node.value]
    value = _scalar(node, action)
    return [value] if action.nargs == "+" else value


def _scalar(node: yaml.Node, action: argparse.Action) -> Any:
    """What the flag makes of one word."""
    if not isinstance(node, yaml.ScalarNode) or _is_null(node):
        raise TypeError
    read: Any = action.type
    words = {} if read in _WORDS else _NO if "no" in (action.choices or ()) else _SWITCHES
    text = words.get(node.value.lower(), node.value)
    value = read(text)
    if action.choices and value not in action.choices:
        raise ValueError
    return value


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation names, without what they hold: list[int] | None -> list, None."""
    members = get_args(annotation) if get_origin(annotation) not in (list, dict) else (annotation,)
    return {get_origin(member) or member for member in members or (annotation,)}


def _wanted(action: argparse.Action, annotation: Any) -> str:
    kinds = _kinds(annotation)
    read: Any = action.type
    if read is true_false_or_auto:
        return "true, false or auto"
    one = f"one of {', '.join(action.choices)}" if action.choices else _WORDS.get(read, "true or false")
    if dict in kinds and not {str, float, int} & kinds:
        one = "a mapping"
    elif dict in kinds:
        one += ", a mapping"
    if list in kinds:
        one = f"a list, each {one}" if action.nargs == "+" else f"{one} or a list of it"
    return f"{one}, or null" if NoneType in kinds else one


def _shown(node: yaml.Node) -> str:
    """As it is written, on one line, shortened."""
    start, end = node.start_mark, node.end_mark
    text = " ".join((start.buffer or "")[start.pointer : end.pointer].split()) or "nothing"
    return text if len(text) <= 60 else f"{text[:60]} ..."
