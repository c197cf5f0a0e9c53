"""The packages, found by themselves: the five parts stand at the top of the repository and are imported as mmcache.x.

Everything else about the project is in pyproject.toml.
"""

from setuptools import find_packages, setup

PARTS = ("store", "common", "extract", "fuse", "cli")

setup(
    packages=["mmcache", *(f"mmcache.{name}" for name in find_packages(include=[*PARTS, *(f"{p}.*" for p in PARTS)]))],
    package_dir={"mmcache": "package", **{f"mmcache.{part}": part for part in PARTS}},
)
