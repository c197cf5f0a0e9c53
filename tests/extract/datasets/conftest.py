"""EPIC-KITCHENS-100 annotations written by hand, as the official files are described."""

from collections.abc import Callable
from pathlib import Path

import pytest

HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)
FILES = {
    "train": "EPIC_100_train.csv",
    "validation": "EPIC_100_validation.csv",
    "test": "EPIC_100_test_timestamps.csv",
}
SPAN_HEADER = ",".join(HEADER.split(",")[:8])
VERBS = ["take", "put", "wash", "turn-on", "pour:out"]
NOUNS = ["tap", "spoon", "plate", "board:chopping", "machine:sous:vide", "paper"]


def class_file(keys: list[str]) -> str:
    """Windows line ends and none after the last line, as the official class files have."""
    return "\r\n".join(
        ["id,key,instances,category", *(f"{i},{key},\"['{key}', 'more']\",some" for i, key in enumerate(keys))]
    )


def write_annotations(
    folder: Path,
    train: list[str],
    validation: list[str] | None = None,
    test: list[str] | None = None,
    verbs: list[str] = VERBS,
    nouns: list[str] = NOUNS,
) -> Path:
    """`root` to be, with annotations in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "EPIC_100_verb_classes.csv").write_bytes(class_file(verbs).encode())
    (folder / "EPIC_100_noun_classes.csv").write_bytes(class_file(nouns).encode())
    for split, rows in (("train", train), ("validation", validation), ("test", test)):
        if rows is not None:
            header = SPAN_HEADER if split == "test" else HEADER
            (folder / FILES[split]).write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.fixture(scope="session")
def write_epic() -> Callable[..., Path]:
    """Write annotation files of the given rows; gives back their folder."""
    return write_annotations
