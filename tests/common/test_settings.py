import dataclasses
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mmcache.common.settings import read_settings, resolve
from mmcache.store import ConfigError

PROPERTY = settings(max_examples=60)
RIGHT: dict[str, list[Any]] = {"strategy": ["zeros", "karmma"], "epochs": [1, 7], "lr": [0.1, 2.5], "drop": [0.0, 0.5]}


@dataclass(config=ConfigDict(extra="forbid"))
class FuseOptions:
    """Options as the commands have them."""

    strategy: str = "karmma"
    epochs: Annotated[int, Field(ge=1)] = 30
    lr: float = 1e-3
    drop: Annotated[float, Field(ge=0, le=1)] | None = None
    modalities: list[str] | None = None
    out: Path | None = None
    encoder: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class WithRequired:
    """A plain dataclass, one option of which has no default."""

    store: Path
    k: int = 3


def settings_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "mmcache.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# The file.


def test_sections_are_read(tmp_path: Path) -> None:
    path = settings_file(
        tmp_path, "extract: {weights: random, k: 64}\nfuse:\n  epochs: 30\n  modalities: [rgb, audio]\n"
    )
    assert read_settings(path) == {
        "extract": {"weights": "random", "k": 64},
        "fuse": {"epochs": 30, "modalities": ["rgb", "audio"]},
    }


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_says_nothing(tmp_path: Path, text: str) -> None:
    assert read_settings(settings_file(tmp_path, text)) == {}


@pytest.mark.parametrize(
    "text", ["fuse: [", "fuse: {a: b", "\t- x", "a: b: c", "fuse: {seed: 2024-13-45}", "a: !!int x"]
)
def test_what_is_not_yaml_is_refused(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ConfigError, match=r"mmcache\.yaml is not YAML: "):
        read_settings(settings_file(tmp_path, text))


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {mark}']",
        "!!python/object/new:subprocess.check_call [['touch', '{mark}']]",
        "!!python/object:pathlib.Path {{}}",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
    ],
)
def test_python_tags_are_refused_and_not_run(tmp_path: Path, tag: str) -> None:
    mark = tmp_path / "was_run"
    path = settings_file(tmp_path, f"fuse: {{epochs: {tag.format(mark=mark)}}}")
    with pytest.raises(ConfigError, match="could not determine a constructor for the tag"):
        read_settings(path)
    assert not mark.exists()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml cannot be read: No such file"):
        read_settings(tmp_path / "no.yaml")
    with pytest.raises(ConfigError, match="cannot be read: it is a folder, not a regular file"):
        read_settings(tmp_path)


@pytest.mark.parametrize(("text", "found"), [("- a\n- b", "list"), ("3", "int"), ("epochs", "str")])
def test_a_file_without_sections_is_refused(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(ConfigError, match=f"must hold the sections extract and fuse, found {found}"):
        read_settings(settings_file(tmp_path, text))


def test_all_wrong_sections_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 things to put right") as caught:
        read_settings(settings_file(tmp_path, "exract: {k: 3}\nfuse: 30\n7: {}\n"))
    message = str(caught.value)
    assert "'exract'. Did you mean 'extract'?" in message
    assert "section 'fuse' of" in message
    assert "must hold 'option: value' lines" in message
    assert "'7'" in message


# Layers.


@PROPERTY
@given(st.lists(st.dictionaries(st.sampled_from(list(RIGHT)), st.none() | st.integers(0, 1)), max_size=3))
def test_later_layers_win_and_none_is_not_given(picks: list[dict[str, int | None]]) -> None:
    layers = {
        f"layer {i}": {name: None if pick is None else RIGHT[name][pick] for name, pick in layer.items()}
        for i, layer in enumerate(picks)
    }
    expected = vars(FuseOptions())
    for layer in layers.values():
        expected |= {name: value for name, value in layer.items() if value is not None}
    assert vars(resolve(FuseOptions, layers)) == expected


def test_values_become_what_the_option_is() -> None:
    built = resolve(FuseOptions, {"flags": {"epochs": "12", "lr": 1, "out": "runs/a", "modalities": ["rgb"]}})
    assert built == FuseOptions(epochs=12, lr=1.0, out=Path("runs/a"), modalities=["rgb"])
    assert isinstance(built.lr, float)


def test_an_unknown_option_gets_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"mmcache\.yaml: unknown option 'epoch'\. Did you mean 'epochs'\?"):
        resolve(FuseOptions, {"mmcache.yaml": {"epoch": 3}})


@pytest.mark.parametrize("key", [3, True, None, 1.5])
def test_a_key_that_is_no_text_is_an_unknown_option(key: object, tmp_path: Path) -> None:
    """YAML reads `no:` and `on:` as false and true."""
    with pytest.raises(ConfigError, match=f"mmcache.yaml: unknown option '{key}'"):
        resolve(FuseOptions, {"mmcache.yaml": {key: 3}})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("epochs", "many", "valid integer"),
        ("epochs", 0, "greater than or equal to 1"),
        ("epochs", 2.5, "valid integer"),
        ("drop", 1.5, "less than or equal to 1"),
        ("modalities", "rgb", r"valid list, such as \[1,2\]"),
        ("strategy", 3, "valid string"),
        ("encoder", {"rgb": 3}, "valid string"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_its_place(name: str, value: object, why: str) -> None:
    with pytest.raises(ConfigError, match=f"^flags: {name} = .*: Input should be .*{why}"):
        resolve(FuseOptions, {"mmcache.yaml": {name: None}, "flags": {name: value}})


def test_the_layer_that_gave_the_wrong_value_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^mmcache\.yaml: epochs = 'x'"):
        resolve(FuseOptions, {"mmcache.yaml": {"epochs": "x"}, "flags": {"lr": 0.1, "epochs": None}})


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match="4 things to put right") as caught:
        resolve(
            FuseOptions,
            {"mmcache.yaml": {"epoch": 3, "epochs": "x", "lr": "fast"}, "flags": {"stratgy": "zeros", "lr": 0.1}}
            | {"command line": {"drop": 2}},
        )
    for said in ("'epoch'", "'stratgy'. Did you mean 'strategy'?", "mmcache.yaml: epochs = 'x'", "command line: drop"):
        assert said in str(caught.value)
    assert "fast" not in str(caught.value)


def test_an_option_that_must_be_given_is_told_by_its_name_alone() -> None:
    with pytest.raises(ConfigError, match=r"store.*required") as caught:
        resolve(WithRequired, {"flags": {"k": 4}})
    assert "{" not in str(caught.value)
    assert resolve(WithRequired, {"flags": {"store": "a.zarr"}}) == WithRequired(Path("a.zarr"), 3)
