import os
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mmcache.common.yaml_file import parse_yaml, read_yaml
from mmcache.store.ground.errors import ConfigError

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(_VALUES)
def test_what_pyyaml_writes_comes_back(value):
    assert parse_yaml(yaml.safe_dump(value), "T") == value


@given(st.text(max_size=60) | st.text("[]{}:-&*!|>%@`\"'#,? \n\tab01<", max_size=60))
def test_any_text_is_a_value_or_an_error_in_words(text):
    message = ""
    try:
        parse_yaml(text, "T")
    except ConfigError as error:
        message = str(error)
    assert message == "" or (message.startswith("T is not YAML: ") and len(message) < 400)


def test_an_alias_bomb_is_refused_before_it_is_expanded():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    began = time.monotonic()
    with pytest.raises(ConfigError, match="its aliases stand for more than 2,000,000 values"):
        parse_yaml("\n".join(lines), "T")
    assert time.monotonic() - began < 5


def test_a_long_text_takes_seconds_and_an_endless_one_is_refused_before_values_are_made_of_it():
    began = time.process_time()
    assert parse_yaml("a: [" + "1, " * 100_000 + "]", "T") == {"a": [1] * 100_000}
    with pytest.raises(ConfigError, match="T is not YAML: it has more than 500,000 values"):
        parse_yaml("[" + "1," * 2_000_000 + "]", "T")
    assert time.process_time() - began < 8


def test_bytes_of_the_command_line_that_are_no_text_are_named():
    with pytest.raises(ConfigError, match="T is not YAML: character 3 is no text"):
        parse_yaml("ab \udcff", "T")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3 gives 'a' a second time"),
        ("fuse: {k: 1, k: 2}", "line 1 gives 'k' a second time"),
        ("[" * 100_000, "line 1 is nested deeper than 64 levels"),
        ("&a [*a]", "contains itself"),
        ("a: &x {b: *x}", "contains itself"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: 2020-13-45", "a value does not fit its type"),
        ("a: !!bool maybe", "a value does not fit its type"),
        ("a: !!timestamp x", "a value does not fit its type"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, "T")


def test_anchors_and_merges_of_a_usual_size_are_read():
    text = "base: &base {epochs: 3, lr: 0.1}\nlong: {<<: *base, epochs: 30}\n"
    assert parse_yaml(text, "T")["long"] == {"epochs": 30, "lr": 0.1}


def test_a_file_is_named_whatever_is_wrong_with_it(tmp_path):
    path = tmp_path / "s.yaml"
    with pytest.raises(ConfigError, match=r"s\.yaml cannot be read: No such file"):
        read_yaml(path)
    path.write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match=r"s\.yaml line 1 is not UTF-8 \(byte 0xff\); save it as YAML"):
        read_yaml(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="it is a FIFO, not a regular file"):
        read_yaml(path)
