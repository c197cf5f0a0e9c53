"""Files that do not say when frames are shown: AVI has the order of decoding, raw streams have nothing."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.extract.media import read_media
from mmcache.extract.media.av.video import read_video
from mmcache.extract.media.base.requests import MediaError, VideoRequest
from mmcache.extract.media.base.source import Source

WriteVideo = Callable[..., Path]
NumbersOf = Callable[[Any], list[int]]
RATE = 25
AVI: dict[str, dict[str, Any]] = {
    "h264": {"x264": "bframes=0"},
    "h264, b-frames": {"x264": "bframes=3"},
    "h264, b-pyramid": {"x264": "bframes=4:b-pyramid=strict"},
    "h264, open gop": {"x264": "bframes=3:open-gop=1"},
    "h264, many b-frames": {"x264": "bframes=10:b-pyramid=normal:ref=6"},
    "mpeg4": {"codec": "mpeg4"},
    "mpeg4, b-frames": {"codec": "mpeg4", "options": {"bf": "2"}},
    "ffv1": {"codec": "ffv1"},
}


@pytest.mark.parametrize("form", AVI)
def test_every_picture_of_an_avi_is_found_at_its_own_time(
    form: str, tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    path = write_video(tmp_path / "v.avi", pictures=80, form="avi", **AVI[form])
    found = [numbers_of(read_video(path, i / RATE, (i + 1) / RATE, VideoRequest(1, 48)).array)[0] for i in range(80)]
    assert found == list(range(80))
    whole = read_video(path, 0.0, math.inf, VideoRequest(80, 48))
    assert numbers_of(whole.array) == list(range(80))
    assert whole.note is None
    rng = np.random.default_rng(0)
    for _ in range(10):
        first, count = int(rng.integers(0, 60)), int(rng.integers(1, 20))
        reading = read_video(path, first / RATE, (first + count) / RATE, VideoRequest(count, 48))
        assert numbers_of(reading.array) == list(range(first, first + count))


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_pictures_that_an_avi_leaves_out_stay_on_screen(
    codec: str, tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    """Recorders write empty chunks where they had no frame."""
    pts = [*range(20), *range(30, 50)]
    path = write_video(tmp_path / "v.avi", pictures=40, pts=pts, form="avi", codec=codec)
    numbers = numbers_of(read_video(path, 0.0, 2.0, VideoRequest(50, 48)).array)
    assert numbers == [*range(20), *[19] * 10, *range(20, 40)]


@pytest.mark.parametrize(
    ("codec", "form", "x264"),
    [
        ("libx264", "h264", "bframes=0"),
        ("libx264", "h264", "bframes=3"),
        ("libx264", "h264", "bframes=3:open-gop=1"),
        ("libx265", "hevc", ""),
        ("mpeg2video", "mpeg2video", ""),
    ],
)
def test_a_raw_stream_is_read_whole_and_never_by_seconds(
    codec: str, form: str, x264: str, tmp_path: Path, write_video: WriteVideo, numbers_of: NumbersOf
) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {"qmin": "1", "qmax": "2"}
    path = write_video(tmp_path / "v.h264", pictures=40, form=form, codec=codec, x264=x264, options=options)
    assert numbers_of(read_video(path, 0.0, math.inf, VideoRequest(40, 48)).array) == list(range(40))
    assert numbers_of(read_video(path, 0.0, math.inf, VideoRequest(4, 48)).array) == [5, 15, 25, 35]
    assert numbers_of(read_video(path, 0.0, math.inf, VideoRequest(80, 48)).array) == [i // 2 for i in range(80)]
    half = VideoRequest(4, 48, part=(0.5, 1.0))
    assert numbers_of(read_video(path, 0.0, math.inf, half).array) == [22, 27, 32, 37]
    shifted = Source("video", (path,), rate=25.0, first=-10.0)
    for start_s, stop_s in ((0.0, 1.0), (0.5, math.inf)):
        with pytest.raises(MediaError, match=r"v\.h264 is a raw \w+ stream: its frames have no timestamps"):
            read_video(path, start_s, stop_s, VideoRequest(4, 48))
    with pytest.raises(MediaError, match="have no timestamps"):
        read_media(shifted, 0.0, math.inf, VideoRequest(4, 48))
