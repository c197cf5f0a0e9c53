"""Challenge files against the published format, read back with nothing but the standard library."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.fuse import Model
from mmcache.fuse.deploy.submission import CHALLENGES, Challenge, write_submission
from mmcache.store import ConfigError, FeatureStore
from mmcache.store.load.loader import Loader


def read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        (member,) = archive.infolist()
        assert (member.filename, member.compress_type) == ("test.json", zipfile.ZIP_DEFLATED)
        return json.loads(archive.read(member))


def test_epic_action_recognition(run: Path, store_path: Path, tmp_path: Path) -> None:
    written = write_submission(run, tmp_path / "out.zip")
    document = read(tmp_path / "out.zip")
    results = document.pop("results")
    expected = {"version": "0.2", "challenge": "action_recognition", "sls_pt": 2, "sls_tl": 3, "sls_td": 4}
    assert document == expected
    store = FeatureStore.open(store_path)
    test = store.segments[store.segments["split"] == "test"]
    assert list(results) == test["id"].tolist()  # every one of them, also the one without any tokens
    for scores in results.values():
        assert list(scores["verb"]) == ["0", "1", "2", "3"]
        assert list(scores["noun"]) == ["0", "1", "2"]
    assert (written.n, written.blind) == (6, ["s105"])
    assert set(results["s105"]["verb"].values()) == {0.0}
    model = Model.load(run)
    rows = test.index.to_numpy()[:-1]
    batch = Loader(store, None, rows, k=8).batch(rows)
    logits = model(batch.tokens, batch.present)  # whatever each of them has: none has imu
    for task in ("verb", "noun"):
        found = np.array([list(results[name][task].values()) for name in test["id"][:-1]])
        np.testing.assert_allclose(found, logits[task].detach().numpy(), atol=1e-4)


def test_the_same_predictions_are_the_same_bytes(run: Path, tmp_path: Path) -> None:
    for name in ("one.zip", "sub/two.zip"):
        write_submission(run, tmp_path / name, levels=(0, 1, 5))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "sub/two.zip").read_bytes()
    document = read(tmp_path / "one.zip")
    assert [document[name] for name in ("sls_pt", "sls_tl", "sls_td")] == [0, 1, 5]


def test_a_labelled_split_may_be_submitted_too(run: Path, tmp_path: Path) -> None:
    assert write_submission(run, tmp_path / "v.zip", split="validation").n == 40


def test_epic_sounds_has_a_form_of_its_own(
    write_store: Callable[..., Path], make_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here with the task noun in the place of sound: names of tasks are all that differs."""
    store = write_store(("audio",), dataset="epic-sounds")
    sounds = Challenge("audio_based_interaction_recognition", "0.1", {"noun": "interaction"})
    monkeypatch.setitem(CHALLENGES, "epic-sounds", sounds)
    write_submission(make_run(store=store, epochs=1), tmp_path / "s.zip")
    document = read(tmp_path / "s.zip")
    assert (document["version"], document["challenge"], document["t_mod"]) == ("0.1", sounds.name, 0)
    assert all(set(scores) == {"interaction"} for scores in document["results"].values())


def test_what_cannot_be_submitted_is_said(
    run: Path, write_store: Callable[..., Path], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.zip"
    with pytest.raises(ConfigError, match=r"the challenge takes a zip; give it a name such as out\.zip"):
        write_submission(run, tmp_path / "out.json")
    with pytest.raises(ConfigError, match="unknown split 'tets'"):
        write_submission(run, out, split="tets")
    with pytest.raises(ConfigError, match=r"supervision levels \(6, 0, 0\)"):
        write_submission(run, out, levels=(6, 0, 0))
    other = write_store(("audio",), dataset="ssv2")
    with pytest.raises(ConfigError, match=r"'ssv2', which has no challenge; those that have one: epic, epic-sounds"):
        write_submission(run, out, store=other)
    sounds = write_store(("audio",), dataset="epic-sounds")
    with pytest.raises(ConfigError, match=r"needs sound; the run predicts verb, noun"):
        write_submission(run, out, store=sounds)
    empty = write_store(("audio",), lacking={"audio": list(range(100, 106))})
    with pytest.raises(ConfigError, match=r"no segment of split 'test' .* has cached tokens"):
        write_submission(make_run(store=empty, epochs=1), out)
    assert not out.exists()
