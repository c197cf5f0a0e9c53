"""The house rules that a machine can check; `python tests/test_architecture.py` prints the figures they are held to."""

import ast
import functools
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

REPOSITORY = Path(__file__).parent.parent
# part -> the parts it may import
ALLOWED = {
    "store": {"store"},
    "common": {"common", "store"},
    "extract": {"extract", "common", "store"},
    "fuse": {"fuse", "common", "store"},
    "cli": {"cli", "extract", "fuse", "common", "store"},
}
# The rooms of the store: each imports from those before it.
ROOMS = [
    "ground",
    "files",
    "segments",
    "format",
    "read",
    "load",
    "feature_store",
    "write",
    "exchange",
    "manage",
    "__init__",
]

MOST_ENTRIES = 15  # of a folder: files and folders
MOST_LINES = 400  # of a file
MOST_FUNCTION_LINES = 60
# Folders that are a table, one file a row: they grow with what there is to choose from.
TABLES = {
    "extract/datasets": "a data set each",
    "extract/encoders": "a family of encoders each",
    "extract/media": "a kind of media each",
    "fuse/strategies": "a strategy each",
    "tests/extract/datasets": "as the code",
    "tests/extract/encoders": "as the code",
    "tests/extract/media": "as the code",
    "tests/fuse/strategies": "as the code",
}


def files_of(*folders: str) -> list[Path]:
    """The Python files below some folders of the repository."""
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports_of(path: Path, runtime_only: bool = False) -> Iterator[tuple[str, str]]:
    """(module, name) of each import in a file, anywhere in it; `import a` gives (a, '')."""

    def visit(node: ast.AST) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif runtime_only and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    return visit(parsed(path))


def module_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(("mmcache", *(parts[:-1] if parts[-1] == "__init__" else parts)))


@functools.cache
def circles() -> list[list[str]]:
    """Groups of modules that import each other, directly or through others, when the program runs.

    Imports inside functions count; those for type checkers do not. That importing a.b also runs a/__init__.py does
    not count: a table may import its rows, which import their base from beside it.
    """
    modules = {module_of(path): path for path in files_of(*ALLOWED)}
    number = {name: i for i, name in enumerate(modules)}
    edges = set()
    for name, path in modules.items():
        for module, attribute in imports_of(path, runtime_only=True):
            target = f"{module}.{attribute}" if f"{module}.{attribute}" in modules else module
            if target in modules:
                edges.add((number[name], number[target]))
    return [[name.removeprefix("mmcache.") for name in group] for group in groups_of(len(number), edges, list(number))]


def groups_of(count: int, edges: set[tuple[int, int]], names: list[str]) -> list[list[str]]:
    """The names of nodes that reach each other along the edges, one list a group of more than one."""
    start, end = np.array(sorted(edges)).T
    graph = csr_matrix((np.ones(len(start)), (start, end)), shape=(count, count))
    _, labels = connected_components(graph, connection="strong")
    groups = defaultdict(list)
    for name, label in zip(names, labels, strict=True):
        groups[label].append(name)
    return sorted(group for group in groups.values() if len(group) > 1)


def entries() -> dict[str, int]:
    """Folder -> how many files and folders are in it."""
    folders = {path.parent for path in files_of(*ALLOWED, "tests")}
    counted = folders | {REPOSITORY / part for part in (*ALLOWED, "tests")}
    return {named(f): sum(not e.name.startswith(("__pycache__", ".")) for e in f.iterdir()) for f in sorted(counted)}


def functions() -> dict[str, int]:
    """path:function -> its lines, decorators aside."""
    found = {}
    for path in files_of(*ALLOWED):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[f"{named(path)}:{node.name}"] = (node.end_lineno or 0) - node.lineno + 1
    return found


def line_counts(*folders: str) -> dict[str, int]:
    """Path -> lines of each file that has any."""
    counts = {named(path): len(path.read_text().splitlines()) for path in files_of(*folders)}
    return {name: count for name, count in counts.items() if count}


def over(sizes: dict[str, int], most: int, aside: tuple[str, ...] = ()) -> dict[str, int]:
    """What is larger than it may be, apart from what stands in `aside`."""
    return {name: size for name, size in sizes.items() if size > most and name not in aside}


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_go_down_only(part: str) -> None:
    files = files_of(part)
    assert len(files) >= 5
    for path in files:
        for module, name in imports_of(path):
            head, _, rest = f"{module}.{name}".partition(".")
            assert head not in ALLOWED, f"{path} imports {module}, not mmcache.{module}"
            assert head != "mmcache" or rest.split(".")[0] in ALLOWED[part], f"{path} imports {module}"


def test_rooms_of_the_store_import_from_those_before_them() -> None:
    room_of = {path: path.relative_to(REPOSITORY / "store").with_suffix("").parts[0] for path in files_of("store")}
    assert set(room_of.values()) == set(ROOMS)
    for path, room in room_of.items():
        for module, name in imports_of(path):
            if module.startswith("mmcache.store"):
                target = f"{module}.{name}".split(".")[2]
                assert target in ROOMS[: ROOMS.index(room) + 1], f"{path} imports {module}"


def test_no_modules_import_each_other() -> None:
    assert groups_of(4, {(0, 1), (1, 2), (2, 0), (3, 0)}, list("abcd")) == [["a", "b", "c"]]
    assert circles() == []


def test_no_folder_has_more_entries_than_a_reader_takes_in() -> None:
    assert set(TABLES) <= set(entries())
    assert over(entries(), MOST_ENTRIES, tuple(TABLES)) == {}


def test_no_file_and_no_function_is_too_long() -> None:
    assert len(functions()) > 1000
    assert over(line_counts(*ALLOWED, "tests"), MOST_LINES) == {}
    assert over(functions(), MOST_FUNCTION_LINES) == {}


def test_every_package_is_installed() -> None:
    """A folder with Python files that setup.py does not find would be missing from a wheel."""
    from setuptools import find_packages

    found = find_packages(str(REPOSITORY), include=[*ALLOWED, *(f"{part}.*" for part in ALLOWED)])
    folders = {path.parent for part in ALLOWED for path in (REPOSITORY / part).rglob("*.py")}
    assert {".".join(folder.relative_to(REPOSITORY).parts) for folder in folders} == set(found)
    setup = (REPOSITORY / "setup.py").read_text()
    assert f"PARTS = ({', '.join(json.dumps(part) for part in ALLOWED)})" in setup


def test_the_version_is_that_of_the_package() -> None:
    import importlib.metadata

    import mmcache

    assert mmcache.__version__ == importlib.metadata.version("mmcache")
    with pytest.raises(AttributeError, match="module 'mmcache' has no attribute 'version'"):
        mmcache.version  # noqa: B018


@pytest.mark.parametrize("arguments", [["--help"], ["extract", "--help"], ["fuse", "--help"], ["list", "--help"]])
def test_help_does_not_import_the_heavy_ones(arguments: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["mmcache", *{arguments!r}]
from mmcache.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "ray", "transformers", "torchvision", "zarr"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_choices_of_residency_are_those_of_the_loader() -> None:
    import typing

    from mmcache.fuse.options.shared import RunOptions
    from mmcache.store.load.loader import RESIDENCIES

    assert typing.get_args(typing.get_type_hints(RunOptions)["resident"]) == RESIDENCIES


def print_figures() -> None:
    """Entries a level, file lengths, the longest function and circles of each part."""
    for part in (*ALLOWED, "tests"):
        lines = line_counts(part)
        folders = {folder: n for folder, n in entries().items() if folder.split("/")[0] == part}
        fullest, longest = max(folders, key=folders.__getitem__), max(lines, key=lines.__getitem__)
        print(f"{part}: {len(lines)} files with a median of {median(lines.values()):.0f} lines; longest {longest}")
        print(f"    ({lines[longest]}); {len(folders)} folders; fullest {fullest} ({folders[fullest]} entries)")
    for name, size in sorted(functions().items(), key=lambda item: -item[1])[:5]:
        print(f"function of {size} lines: {name}")
    for folder, size in over(entries(), MOST_ENTRIES, tuple(TABLES)).items():
        print(f"folder of {size} entries: {folder}")
    print(f"import circles: {len(circles())}")
    for group in circles():
        print("    " + ", ".join(group))


if __name__ == "__main__":
    print_figures()
