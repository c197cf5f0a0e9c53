"""Opening files: names are names, nothing but the file is opened, and the right stream is chosen."""

import io
import math
import os
import socket
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from mmcache.extract.media.av.audio import read_audio
from mmcache.extract.media.av.video import read_video
from mmcache.extract.media.base.requests import AudioRequest, MediaError, NoMedia, VideoRequest

IMAGES = VideoRequest(4, 48)
SOUND = AudioRequest(rate=16000, max_seconds=10.0)
NAMES = [
    "12:30.mp4",
    "file:film.mp4",
    "http:film.mp4",
    "https:example.mp4",
    "concat:film.mp4",
    "pipe:0",
    "fd:",
    "fd:3",
    "data:,x",
    "subfile,,start,0,end,10,,:x.mp4",
    "-i",
    "frame%03d.mp4",
    "frame%03d.jpg",
    "*.mp4",
    "?.png",
    "a b\nc.mp4",
    "tab\tand \x1b[31mred.mp4",
    "ünïcode 映画.mp4",
    "film.txt",
    "film.m3u8",
    "noextension",
]


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_any_name_is_the_name_of_a_file(
    relative: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_video: Callable[..., Path],
    numbers_of: Callable[[Any], list[int]],
) -> None:
    content = write_video(tmp_path / "film", pictures=12).read_bytes()
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        path = Path(name) if relative else tmp_path / name
        path.write_bytes(content)
        assert numbers_of(read_video(path, 0.0, math.inf, VideoRequest(12, 48)).array) == list(range(12)), name
        path.unlink()
    folder = Path("http:") / "127.0.0.1"
    folder.mkdir(parents=True)
    (folder / "film.mp4").write_bytes(content)
    assert numbers_of(read_video(folder / "film.mp4", 0.0, math.inf, VideoRequest(12, 48)).array) == list(range(12))


def test_a_name_with_control_characters_is_shown_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a\nb\x1b[31m.mp4"
    path.write_bytes(b"no film" * 100)
    with pytest.raises(MediaError) as refused:
        read_video(path, 0.0, 1.0, IMAGES)
    assert str(refused.value).startswith(r"a\nb\x1b[31m.mp4 cannot be decoded")


@pytest.fixture
def knocks() -> Any:
    """The address of a server, and how often somebody connected to it."""
    server = socket.create_server(("127.0.0.1", 0))
    count: list[int] = []

    def accept() -> None:
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return
            count.append(1)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.getsockname()[1]}", count
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def test_playlists_make_nothing_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_video: Callable[..., Path], knocks: Any
) -> None:
    """Neither a connection nor another file, even one that lies beside it and is a video."""
    write_video(tmp_path / "film.ts", pictures=50, form="mpegts")
    monkeypatch.chdir(tmp_path)
    address, count = knocks
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"
    dash = (
        '<?xml version="1.0"?>'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S">'
        "<Period><AdaptationSet>"
        '<Representation id="1" mimeType="video/mp4"><BaseURL>{}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>"
    )
    session = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    playlists = {"sdp": session, "cut": "ffconcat version 1.0\nfile 'video.ts'\n"}
    for other in ("film.ts", str(tmp_path / "film.ts"), f"file:{tmp_path}/film.ts", f"http://{address}/film.ts"):
        playlists |= {f"hls {len(playlists)}": hls.format(other), f"dash {len(playlists)}": dash.format(other)}
        playlists[f"concat {len(playlists)}"] = f"ffconcat version 1.0\nfile '{other}'\n"
    assert len(playlists) == 14
    for name, text in playlists.items():
        for suffix in ("m3u8", "mp4"):
            path = tmp_path / f"{name}.{suffix}"
            path.write_text(text)
            with pytest.raises(MediaError, match="is a playlist or description that names other files"):
                read_video(path, 0.0, math.inf, IMAGES)
    assert not count


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "a.mp4"
    os.mkfifo(fifo)
    for read, request in ((read_video, IMAGES), (read_audio, SOUND)):
        with pytest.raises(MediaError, match=r"a\.mp4 cannot be read: it is a FIFO, not a regular file"):
            read(fifo, 0.0, 1.0, request)  # type: ignore[operator]
        with pytest.raises(MediaError, match="null cannot be read: it is a device, not a regular file"):
            read(Path("/dev/null"), 0.0, 1.0, request)  # type: ignore[operator]


def png(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (64, 48), value).save(out, "PNG")
    return out.getvalue()


def grey(container: Any, stream: Any, value: int, count: int) -> list[Any]:
    packets = []
    for i in range(count):
        picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint8), format="rgb24")
        picture.pts, picture.time_base = i, Fraction(1, 25)
        packets += stream.encode(picture)
    return packets + stream.encode()


@pytest.mark.parametrize("default", [0, 1, 2])
def test_of_several_streams_the_default_one_is_taken(default: int, tmp_path: Path) -> None:
    """A video with a side camera and a commentary; which comes first in the file says nothing."""
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w", format="matroska") as container:
        packets = []
        films = [container.add_stream("libx264", rate=25, options={"preset": "ultrafast"}) for _ in range(3)]
        sounds = [container.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(3)]
        for i, film in enumerate(films):
            film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
            film.disposition = 1 if i == default else 0
            sounds[i].disposition = 1 if i == default else 0
        for i, film in enumerate(films):
            packets += grey(container, film, 50 + 60 * i, 25)
        for i, stream in enumerate(sounds):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16000), 1000 * (i + 1), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            packets += [*stream.encode(frame), *stream.encode()]
        container.mux(sorted((p for p in packets if p.dts is not None), key=lambda p: float(p.dts * p.time_base)))
    assert read_video(path, 0.1, 0.9, IMAGES).array.mean() == pytest.approx(50 + 60 * default, abs=4)
    heard = read_audio(path, 0.1, 0.9, SOUND).array
    assert np.median(heard) == pytest.approx(1000 * (default + 1) / 32768, rel=0.01)


@pytest.mark.parametrize(
    ("form", "with_film"),
    [("mp4", True), ("mp4", False), ("matroska", True), ("matroska", False), ("mp3", False)],
)
def test_a_cover_picture_is_no_film(form: str, with_film: bool, tmp_path: Path) -> None:
    path = tmp_path / f"a.{form}"
    with av.open(str(path), "w", format=form) as container:
        if form == "matroska":
            container.add_attachment("cover.png", "image/png", png(250))
        else:
            cover = container.add_stream("png", rate=25)
            cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
            cover.disposition = av.stream.Disposition.attached_pic
        film = None
        if with_film:
            film = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("libmp3lame", rate=44100, layout="mono")
        if form != "matroska":
            container.mux(grey(container, cover, 250, 1))
        packets = grey(container, film, 100, 50) if film else []
        wave = (0.5 * np.sin(np.arange(88200) / 20)).astype(np.float32)
        for start in range(0, len(wave), 1152):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[None, start : start + 1152]), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
            packets += sound.encode(frame)
        packets += sound.encode()
        container.mux(sorted((p for p in packets if p.dts is not None), key=lambda p: float(p.dts * p.time_base)))
    with av.open(str(path)) as container:
        assert any(s.disposition & av.stream.Disposition.attached_pic for s in container.streams.video)
    assert len(read_audio(path, 0.0, math.inf, SOUND).array) / 16000 == pytest.approx(2.0, abs=0.06)
    if with_film:
        assert read_video(path, 0.0, math.inf, IMAGES).array.mean() == pytest.approx(100, abs=4)
    else:
        with pytest.raises(NoMedia, match=rf"a\.{form} has no video stream, only a cover image"):
            read_video(path, 0.0, math.inf, IMAGES)
