"""Walk the folders of a data set once, to find media by name in any folder."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk(
    root: Path, levels: int, is_media: Callable[[str], bool], problems: list[str]
) -> Iterator[tuple[os.DirEntry[str], bool]]:
    """Everything below `root` in the order of names, and whether it is a folder.

    Nothing deeper than `levels` is looked at: links may go in circles.

    Args:
        is_media: whether a folder of that name is media itself; it is yielded and not entered.
        problems: folders that cannot be read are told here.
    """
    try:
        with os.scandir(root) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        problems.append(f"the folder {root} cannot be read: {error.strerror}")
        return
    for entry in entries:
        try:
            is_folder = entry.is_dir()
        except OSError as error:  # a link to itself
            problems.append(f"{entry.path} cannot be read: {error.strerror}")
            continue
        yield entry, is_folder
        if is_folder and levels > 1 and not is_media(entry.name):
            yield from walk(Path(entry.path), levels - 1, is_media, problems)
