import subprocess
import sys

import pytest

import mmcache.store


def test_the_package_offers_its_names() -> None:
    for name in mmcache.store.__all__:
        assert getattr(mmcache.store, name).__name__ == name


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'mmcache\.store' has no attribute 'nothing'"):
        mmcache.store.nothing  # noqa: B018
    assert not hasattr(mmcache.store, "nothing")


def test_importing_the_package_loads_no_library() -> None:
    code = "import sys, mmcache.store; print(sorted({'numpy', 'pandas', 'torch', 'zarr'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
