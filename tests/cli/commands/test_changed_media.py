"""extract says which media were replaced or are gone since they were cached, before it starts and with --dry-run."""

import json
from collections.abc import Callable
from pathlib import Path


def test_what_changed_is_counted_and_named(mmcache: Callable, epic_copy: Path, store_copy: Path) -> None:
    command = ["extract", "--dataset", "epic", "--root", epic_copy, "--store", store_copy, "--dry-run"]
    untouched = mmcache(*command, "--json")
    assert untouched.code == 0
    assert "have other media now" not in untouched.err
    told = json.loads(untouched.out)["modalities"]
    assert {part["changed"] for part in told.values()} == {part["gone"] for part in told.values()} == {0}
    film = next(epic_copy.rglob("P01_101.MP4"))  # video and audio
    film.write_bytes(film.read_bytes() + b"\x00")
    for file in epic_copy.rglob("P01_102-*.csv"):
        file.unlink()
    done = mmcache(*command)
    said = " ".join(done.err.split())
    assert done.code == 0
    for modality in ("rgb", "audio"):
        assert (
            f"{modality}: 8 segments have other media now than when they were cached (by size or time of the files): "
            "P01_101_0, P01_101_1, P01_101_2, ...; --refresh does them again"
        ) in said
    assert (
        "imu: 8 segments are cached, and their media are gone: P01_102_0, P01_102_1, P01_102_2, ...; "
        "their tokens are kept"
    ) in said
    again = json.loads(mmcache(*command, "--refresh", "--json").out)["modalities"]
    assert {name: (part["segments"], part["changed"]) for name, part in again.items()} == {
        "rgb": (8, 8),
        "audio": (8, 8),
        "imu": (0, 0),
    }
