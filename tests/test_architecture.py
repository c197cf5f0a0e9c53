"""The house rules that a machine can check: imports go down only, and the tables agree with the names in configs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
# part -> the parts it may import
ALLOWED = {
    "store": {"store"},
    "common": {"common", "store"},
    "extract": {"extract", "common", "store"},
    "fuse": {"fuse", "common", "store"},
    "cli": {"cli", "extract", "fuse", "common", "store"},
}


def imported_parts(path: Path) -> set[str]:
    """The mmcache parts a file imports, anywhere in it; a bare import of a part counts as 'bare'."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        for name in names:
            head, _, rest = name.partition(".")
            if head == "mmcache":
                parts.add(rest.split(".")[0])
            elif head in ALLOWED:
                parts.add("bare")
    return parts


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_go_down_only(part: str) -> None:
    files = sorted((REPOSITORY / part).rglob("*.py"))
    assert len(files) >= 5
    for path in files:
        assert imported_parts(path) <= ALLOWED[part], path


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


@pytest.mark.parametrize("arguments", [["--help"], ["extract", "--help"], ["fuse", "--help"], ["list", "strategies"]])
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


def test_names_in_the_config_are_those_of_the_tables() -> None:
    from mmcache.fuse import config
    from mmcache.fuse.fills import FILLS
    from mmcache.fuse.fusion import FUSIONS
    from mmcache.fuse.heads import HEADS
    from mmcache.fuse.masks import LAWS
    from mmcache.store.load.loader import RESIDENCIES

    assert tuple(FILLS) == config.FILLS
    assert tuple(FUSIONS) == config.FUSIONS
    assert tuple(HEADS) == config.HEADS
    assert tuple(LAWS) == config.LAWS
    assert config.RESIDENT == RESIDENCIES
