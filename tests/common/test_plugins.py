"""Plugins: what a user's file or an installed package offers, and every way in which it can be the wrong thing."""

import hashlib
import os
import sys
from pathlib import Path

import pytest

from mmcache.common.plugin_faults import PluginError, fault_in, plugin_faults
from mmcache.common.plugins import (
    PluginKind,
    absolute_spec,
    clash_note,
    installed_plugins,
    is_file_spec,
    load_plugin,
)

NUMBER = PluginKind(
    "number", "mmcache.numbers", "a whole number", lambda it: None if isinstance(it, int) else "it is no number"
)


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def install(folder: Path, package: str, entry: str, source: str) -> None:
    """A package as pip leaves it: a module, and metadata with its entry points."""
    write(folder, source, f"{entry.partition('=')[2].partition(':')[0].strip()}.py")
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[mmcache.numbers]\n{entry}\n")


def test_a_name_of_a_file_with_the_hash_of_what_was_run(tmp_path: Path) -> None:
    path = write(tmp_path, "SEVEN = 7\n")
    found, record = load_plugin(f"{path}:SEVEN", NUMBER)
    assert found == 7
    assert record.recorded() == {"name": "SEVEN", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert record.spec == f"{path}:SEVEN"


def test_a_relative_path_holds_in_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "SEVEN = 7\n")
    monkeypatch.chdir(tmp_path)
    spec = absolute_spec("mine.py:SEVEN")
    monkeypatch.chdir("/")
    assert load_plugin(spec, NUMBER)[1].spec == f"{tmp_path}/mine.py:SEVEN"


def test_a_file_that_changes_is_another_plugin(tmp_path: Path) -> None:
    path = write(tmp_path, "SEVEN = 7\n")
    _, first = load_plugin(f"{path}:SEVEN", NUMBER)
    write(tmp_path, "SEVEN = 8\n")
    found, second = load_plugin(f"{path}:SEVEN", NUMBER)
    assert (found, first == second) == (8, False)
    with pytest.raises(PluginError, match=f"has other source here .sha256 {second.sha256[:12]}. than where"):
        load_plugin(f"{path}:SEVEN", NUMBER, first.sha256)


def test_the_source_runs_once_in_a_process(tmp_path: Path) -> None:
    path = write(tmp_path, f"with open({str(tmp_path / 'log')!r}, 'a') as log:\n    log.write('x')\nA = 1\nB = 2\n")
    for name in ("A", "B", "A"):
        load_plugin(f"{path}:{name}", NUMBER)
    assert (tmp_path / "log").read_text() == "x"


def test_dataclasses_and_classes_of_a_plugin_can_be_pickled(tmp_path: Path) -> None:
    import pickle

    text = "from __future__ import annotations\nimport dataclasses\n\n"
    text += "@dataclasses.dataclass\nclass P:\n    x: int\nA = P(3)"
    anything = PluginKind("thing", "mmcache.things", "anything", lambda it: None)
    found, _ = load_plugin(f"{write(tmp_path, text)}:A", anything)
    assert pickle.loads(pickle.dumps(found)).x == 3  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (None, "A", "number plugin .*mine.py cannot be read: No such file or directory"),
        ("def build(): ...\nclass Net: ...\n", "Bild", r"no 'Bild'. It defines: build, Net. Name one"),
        ("def build(): ...\n", "", "is named without what to use of it. It defines: build"),
        ("import os\n", "A", "has no 'A'. It defines: no function and no class"),
        ("A = 'seven'\n", "A", "cannot be used as number: it is no number. Wanted: a whole number. See docs"),
        ("x = 1\ny = (\n", "A", r"plugin .*mine.py, line 2: '\(' was never closed"),
        ("A = 7\nraise ValueError('no\\nluck')\n", "A", "plugin .*mine.py, line 2, in <module>: ValueError: no luck"),
        ("def f():\n    return 1 / 0\nA = f()\n", "A", "line 2, in f: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "A", "line 2, in <module>: SystemExit: 3"),
        ("import no_such_thing\n", "A", "line 1, in <module>: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("import beside\n", "A", "cannot import the files beside it, because its hash would not cover them"),
        ("A = '\0'\n", "A", "plugin .*mine.py"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str | None, name: str, message: str) -> None:
    write(tmp_path, "", "beside.py")
    path = tmp_path / "mine.py" if text is None else write(tmp_path, text)
    with pytest.raises(PluginError, match=message) as caught:
        load_plugin(f"{path}:{name}" if name else str(path), NUMBER)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_a_folder_and_a_fifo(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(b"A = '\xff\xfe'\n")
    with pytest.raises(PluginError, match=r"mine.py"):
        load_plugin(f"{tmp_path}/mine.py:A", NUMBER)
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(PluginError, match=r"folder.py cannot be read: it is a folder"):
        load_plugin(f"{tmp_path}/folder.py:A", NUMBER)
    os.mkfifo(tmp_path / "fifo.py")
    with pytest.raises(PluginError, match=r"fifo.py cannot be read: it is a FIFO"):
        load_plugin(f"{tmp_path}/fifo.py:A", NUMBER)


def test_failures_later_on_name_the_line_too(tmp_path: Path) -> None:
    text = "def build(x):\n    import json\n    return json.loads(x)\n"
    build, _ = load_plugin(f"{write(tmp_path, text)}:build", PluginKind("t", "g", "w", lambda it: None))
    with (
        pytest.raises(PluginError, match=r"mine.py, line 3, in build: JSONDecodeError: Expecting value"),
        plugin_faults(),
    ):
        build("")
    with pytest.raises(ZeroDivisionError), plugin_faults():
        print(1 / 0)  # not the plugin's
    assert fault_in(ZeroDivisionError()) is None


def test_a_package_is_imported_only_when_it_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "pkg", "seven = pkg_of_seven:SEVEN", "SEVEN = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "seven" in installed_plugins(NUMBER.group)
    assert clash_note("seven", NUMBER) == (
        "number 'seven' is the built-in one; the number of that name in pkg 1.0 is not used"
    )
    assert clash_note("eight", NUMBER) is None
    assert "pkg_of_seven" not in sys.modules
    found, record = load_plugin("seven", NUMBER)
    assert (found, record.name, len(record.sha256)) == (7, "seven", 64)
    with pytest.raises(PluginError, match=r"unknown number 'sven'. Did you mean 'seven'.*path/to/file.py:Name"):
        load_plugin("sven", NUMBER)


def test_two_packages_with_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        install(tmp_path, name, f"seven = pkg_{name}:SEVEN", "SEVEN = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"two packages offer the number 'seven': one 1.0 .* and two 1.0"):
        load_plugin("seven", NUMBER)


def test_a_package_that_fails_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "bad", "seven = pkg_bad:SEVEN", "import os\n\nprint(1 / 0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"'seven' of the package bad 1.0 cannot be imported: .*pkg_bad.py, line 3"):
        load_plugin("seven", NUMBER)


@pytest.mark.parametrize(
    ("spec", "is_file"),
    [("a/b.py:build", True), ("b.py", True), ("hf:some/model", False), ("timm:resnet34", False), ("swin3d_t", False)],
)
def test_which_names_are_files(spec: str, is_file: bool) -> None:
    assert is_file_spec(spec) is is_file


def test_the_hash_of_a_package_covers_all_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "pkg_whole"
    folder.mkdir()
    write(folder, "", "__init__.py")
    write(folder, "X = 7\n", "inner.py")
    install(tmp_path, "whole", "seven = pkg_whole.inner:X", "")
    monkeypatch.syspath_prepend(tmp_path)
    _, before = load_plugin("seven", NUMBER)
    write(folder, "Y = 1\n", "other.py")
    _, after = load_plugin("seven", NUMBER)
    assert before.sha256 != after.sha256
