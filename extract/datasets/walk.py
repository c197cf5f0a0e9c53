"""One walk over the folders of a data set whose media are found by name, whatever folders they were unpacked into."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk(root: Path, levels: int, is_media: Callable[[str], bool], problems: list[str]) -> Iterator[os.DirEntry[str]]:
    """Everything below `root` in the order of names, no deeper than `levels` (links may go in circles).

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
        yield entry
        if levels > 1 and not is_media(entry.name) and entry.is_dir():
            yield from walk(Path(entry.path), levels - 1, is_media, problems)
