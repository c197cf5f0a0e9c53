import errno
import os
import socket

import pytest

from mmcache.store.files.user_file import NotRegularFile, check_regular, open_regular, read_regular

_READERS = (check_regular, open_regular, lambda path: read_regular(path, 100))


@pytest.mark.parametrize("read", _READERS, ids=["check", "open", "read"])
@pytest.mark.parametrize("kind", ["FIFO", "folder", "device"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, read, kind):
    path = tmp_path / "x"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(NotRegularFile, match=f"it is a {kind}, not a regular file"):
        read(path)


def test_a_socket_is_named(tmp_path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        with pytest.raises(NotRegularFile, match="it is a socket"):
            check_regular(tmp_path / "s")


def test_a_link_to_a_regular_file_is_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").symlink_to("a")
    assert check_regular(tmp_path / "b").st_size == 3
    assert read_regular(tmp_path / "b", 3) == b"abc"


def test_more_than_the_limit_is_not_read(tmp_path):
    (tmp_path / "a").write_bytes(b"abcd")
    with pytest.raises(OSError, match="4 bytes, more than the 3 that are allowed") as caught:
        read_regular(tmp_path / "a", 3)
    assert caught.value.errno == errno.EFBIG
