import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcache.store import ConfigError
from mmcache.store.files.json_file import parse_json, read_json, read_json_lines


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON: Expecting"),
        ("[" * 100_000, "nests too deeply"),
        ('{"a": 1, "a": 2}', "is not JSON: 'a' is given twice"),
        ('{"x": {"a": 1, "b": 2, "a": 2}}', "'a' is given twice"),
        ("9" * 10_000, "is not JSON: Exceeds the limit"),
        ("", "is not JSON: Expecting value"),
        ('["\\ud83d\\ude00", "\\ud83d"]', "a string has half of a surrogate pair"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why) as caught:
        read_json(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < len(str(path)) + 300
    assert "\n" not in str(caught.value)


def test_what_is_no_fault_is_read(tmp_path: Path) -> None:
    (tmp_path / "pair.json").write_bytes(b'\xef\xbb\xbf["\\ud83d\\ude00"]')  # after a byte order mark
    assert read_json(tmp_path / "pair.json") == ["\N{GRINNING FACE}"]
    with pytest.raises(ConfigError, match="it has 19 bytes, more than the 16 that are allowed"):
        read_json(tmp_path / "pair.json", limit=16)


def test_files_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.json cannot be read: No such file"):
        read_json(tmp_path / "no.json")
    (tmp_path / "bytes.json").write_bytes(b"{\xff")
    with pytest.raises(ConfigError, match=r"line 1 is not UTF-8 \(byte 0xff\); save it as JSON in UTF-8"):
        read_json(tmp_path / "bytes.json")


def test_lines_are_read_one_by_one_and_a_bad_one_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"a": 1}\n\n[2]\n')
    assert read_json_lines(path) == [{"a": 1}, [2]]
    path.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(ConfigError, match=r"^line 2 of .*m\.jsonl is not JSON"):
        read_json_lines(path)


@given(st.text(max_size=40) | st.text('[]{}",:0', max_size=12))
def test_any_text_is_json_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_json(text, "it")
