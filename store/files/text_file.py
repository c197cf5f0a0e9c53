"""Read untrusted text files whole, within a limit."""

from pathlib import Path

from mmcache.store.files.user_file import read_regular
from mmcache.store.ground.errors import ConfigError


def read_text(path: Path, limit: int, kind: str) -> str:
    """The text of a UTF-8 file, without the byte order mark that it may begin with.

    Args:
        limit: the most bytes the file may have.
        kind: what the file should be, for the message: 'JSON', 'a list of classes'.

    Raises:
        ConfigError: the file cannot be read, is too large, or is not UTF-8; with the line and the byte.
    """
    try:
        data = read_regular(path, limit)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = data.count(b"\n", 0, error.start) + 1, data[error.start]
        raise ConfigError(f"{path} line {line} is not UTF-8 (byte 0x{byte:02x}); save it as {kind} in UTF-8") from error
