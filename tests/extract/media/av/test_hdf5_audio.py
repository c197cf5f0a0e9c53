from pathlib import Path

import h5py
import numpy as np
import pytest

from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import AudioRequest, MediaError, NoMedia
from mmcache.extract.media.base.source import Source

RATE = 24000


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    """A tone whose loudness is the time, so that a span shows where it was cut."""
    t = np.arange(round(seconds * rate)) / rate
    return (t / 10 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = tmp_path_factory.mktemp("audio") / "EPIC_audio.hdf5"
    with h5py.File(path, "w") as file:
        file["P01_01"] = tone(8)
        file["P01_02"] = (tone(8) * 32767).astype(np.int16)
        file["P01_03"] = np.full(RATE, np.nan, np.float32)
        file["P01_04"] = np.zeros((RATE, 2), np.float32)
        file.create_group("P01_05")
        file["P01_06"] = np.full(RATE, 1000, np.int64)
        file["P01_07"] = (tone(8) * 32767).astype(">i2")
        chunked = file.create_dataset("P01_08", (8 * RATE,), np.float32, chunks=(RATE,))
        chunked[: 4 * RATE] = tone(4)
    return Source("hdf5_audio", (path,), rate=float(RATE), entry="P01_01")


def of(source: Source, entry: str) -> Source:
    return Source("hdf5_audio", source.paths, rate=source.rate, entry=entry)


@pytest.mark.parametrize("entry", ["P01_01", "P01_02", "P01_07"])
def test_a_span_is_cut_out_and_resampled(entry: str, source: Source) -> None:
    reading = read_media(of(source, entry), 2.0, 4.5, AudioRequest(16000, 10.0))
    assert reading.array.dtype == np.float32
    assert reading.note is None
    expected = tone(8, 16000)[32000:72000]
    assert len(reading.array) == len(expected)
    np.testing.assert_allclose(reading.array[200:-200], expected[200:-200], atol=2e-3)


def test_of_a_long_segment_the_middle_is_taken(source: Source) -> None:
    reading = read_media(source, 0.0, 8.0, AudioRequest(16000, 2.0))
    np.testing.assert_allclose(reading.array[200:-200], tone(8, 16000)[48000:80000][200:-200], atol=2e-3)


def test_the_end_is_clamped_with_a_note(source: Source) -> None:
    assert (
        read_media(source, 7.0, 9.0, AudioRequest(16000, 10.0)).note
        == "segment ends 1.00 s past the audio's end; clamped"
    )
    assert len(read_media(source, 7.0, np.inf, AudioRequest(16000, 10.0)).array) == 16000
    with pytest.raises(MediaError, match=r"starts at 9\.00 s, after the audio ends \(8\.00 s\)"):
        read_media(source, 9.0, 10.0, AudioRequest(16000, 10.0))


def test_what_is_not_there_is_missing_and_what_is_no_waveform_an_error(source: Source, tmp_path: Path) -> None:
    request = AudioRequest(16000, 10.0)
    with pytest.raises(NoMedia, match=r"EPIC_audio\.hdf5 has no audio of P09_01"):
        read_media(of(source, "P09_01"), 0, 1, request)
    with pytest.raises(MediaError, match="holds NaN or infinity"):
        read_media(of(source, "P01_03"), 0, 1, request)
    for entry in ("P01_04", "P01_05", "P01_06"):
        with pytest.raises(MediaError, match=f"'{entry}' in .* is no waveform"):
            read_media(of(source, entry), 0, 1, request)
    broken = tmp_path / "EPIC_audio.hdf5"
    broken.write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with pytest.raises(MediaError, match=r"EPIC_audio\.hdf5 cannot be read as HDF5"):
        read_media(Source("hdf5_audio", (broken,), rate=24000.0, entry="P01_01"), 0, 1, request)


def test_sound_that_was_never_written_is_no_silence(source: Source) -> None:
    request = AudioRequest(16000, 10.0)
    assert read_media(of(source, "P01_08"), 2.0, 4.0, request).note is None
    for start_s, stop_s in ((3.0, 5.0), (5.0, 6.0), (0.0, np.inf)):
        with pytest.raises(MediaError, match=r"'P01_08' in EPIC_audio\.hdf5 .* parts of it were never written"):
            read_media(of(source, "P01_08"), start_s, stop_s, request)


def test_sound_is_read_from_the_file_itself_alone(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = tone(1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
        layout = h5py.VirtualLayout((RATE,), np.float32)
        layout[:] = h5py.VirtualSource(tmp_path / "gone.h5", "x", (RATE,))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("unwritten", (RATE,), np.float32)
    for entry, reason in (
        ("link", "is a link to another file"),
        ("virtual", "is virtual"),
        ("unwritten", "its values were never written: they would read as zeros"),
    ):
        with pytest.raises(MediaError, match=rf"'{entry}' in a\.h5 .*{reason}"):
            read_media(
                Source("hdf5_audio", (tmp_path / "a.h5",), rate=24000.0, entry=entry), 0, 1, AudioRequest(16000, 10.0)
            )
