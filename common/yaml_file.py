"""Read untrusted YAML within limits: a file of a few lines must not fill the memory or hang the program.

PyYAML's safe loader builds no objects, but it follows aliases of aliases (twelve lines can mean ten billion nodes),
recurses as deep as the text nests, and lets the last of two equal keys win. Written in Python, it takes a minute for a
few hundred kilobytes; libyaml, which comes with it, takes a second.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from mmcache.store.files.text_file import read_text
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import excerpt

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the parser of libyaml if PyYAML was built with it
_LIMIT_BYTES = 16 << 20
_DEPTH = 64
_WRITTEN = 500_000  # values in the text, before aliases are expanded
_NODES = 2_000_000  # after aliases are expanded


def read_yaml(path: Path) -> Any:
    """What a YAML file holds, None where it is empty. Raises ConfigError with the file's name and the reason."""
    return parse_yaml(read_text(path, _LIMIT_BYTES, "YAML"), str(path))


def parse_yaml(text: str, where: str) -> Any:
    """What a YAML text holds. Raises ConfigError, whose message names `where` and never repeats the text at length."""
    try:
        _check_written(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_size(node, 0, {}, set())
            return _constructed(loader, node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {_reason(error)}") from error
    except UnicodeEncodeError as error:  # bytes from the command line that are not text
        raise ConfigError(f"{where} is not YAML: character {error.start} is no text that UTF-8 can hold") from error


class _Loader(_Parser):
    """The safe loader, with repeated keys as errors."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.YAMLError(f"line {key_node.start_mark.line + 1} gives {excerpt(key)} a second time")
                seen.add(key)
        return super().construct_mapping(node, deep)


def _constructed(loader: Any, node: yaml.Node) -> Any:
    try:
        return loader.construct_document(node)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        # An impossible date or number, or a tag that does not fit its value: `!!bool maybe` is a KeyError in PyYAML.
        raise yaml.YAMLError(f"a value does not fit its type ({' '.join(str(error).split())[:120]})") from error


def _check_written(text: str) -> None:
    """Check size and depth by the text's events, which needs no memory or recursion, before nodes are built."""
    depth = values = 0
    for event in yaml.parse(text, Loader=_Parser):
        if isinstance(event, yaml.NodeEvent):
            values += 1
            if values > _WRITTEN:
                raise yaml.YAMLError(f"it has more than {_WRITTEN:,} values")
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
            if depth > _DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise yaml.YAMLError(f"line {line} is nested deeper than {_DEPTH} levels")
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1


def _check_size(node: yaml.Node, depth: int, sizes: dict[int, int], above: set[int]) -> int:
    """The number of values of a node with its aliases expanded. Raises YAMLError when too many, too deep or endless.

    Args:
        sizes: counts of the nodes visited so far, so that no alias is followed twice.
        above: the nodes that contain this one.
    """
    if id(node) in sizes:
        return sizes[id(node)]
    if id(node) in above:
        raise yaml.YAMLError(f"what is on line {node.start_mark.line + 1} contains itself")
    if depth > _DEPTH:
        raise yaml.YAMLError(f"its aliases nest deeper than {_DEPTH} levels")
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    above.add(id(node))
    total = 1 + sum(_check_size(child, depth + 1, sizes, above) for child in children)
    above.discard(id(node))
    if total > _NODES:
        raise yaml.YAMLError(f"its aliases stand for more than {_NODES:,} values")
    sizes[id(node)] = total
    return total


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {' '.join(str(error.problem).split())[:200]}"
    return " ".join(str(error).split())[:200]
