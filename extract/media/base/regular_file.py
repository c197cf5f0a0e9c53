"""Size and time of a media file, which are also what readers cache parsed files by."""

import os
from pathlib import Path

from mmcache.extract.media.base.requests import MediaError
from mmcache.store.files.user_file import check_regular


def status_of(path: Path) -> os.stat_result:
    """The status of a regular file. Raises MediaError if it does not exist, or is a folder or a FIFO."""
    try:
        return check_regular(path)
    except FileNotFoundError as error:
        raise MediaError(f"{path.name} is not there") from error
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}") from error
