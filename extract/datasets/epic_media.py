"""Where the media of EPIC-KITCHENS-100 lie: the layouts of its downloader and server, and what people make of them.

    PXX/videos/PXX_YY.MP4            or videos/{train,test}/PXX/..., or videos/...; also below EPIC-KITCHENS/
    PXX/rgb_frames/PXX_YY/           frame_0000000001.jpg ..., unpacked from the .tar by hand
    PXX/flow_frames/PXX_YY/{u,v}/    the same, grey
    PXX/meta_data/PXX_YYY-accl.csv   and -gyro.csv; extension videos only
    audio/PXX_YY.wav                 sound taken out of the MP4, as the audio baselines keep it
    EPIC_audio.hdf5                  the same in one file: a waveform of 24 kHz a video

Frame numbers count extracted JPEGs at 60 a second for videos of 2018 (PXX_YY) and 50 for the extension (PXX_1YY).
"""

from pathlib import Path

from mmcache.extract.datasets.base import Source

_AUDIO_FILES = ("EPIC_audio.hdf5", "audio/EPIC_audio.hdf5")
AUDIO_RATE = 24000  # of the HDF5 file
# Released at 60 frames a second at first, though their labels count 50.
_ONCE_AT_60 = ("P01_109", "P27_103")


class EpicMedia:
    """Finds the media of a video below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def source(self, modality: str, video: str) -> Source | None:
        """The media of one video, or None when they are not on disk."""
        if modality == "imu":
            return self._imu(video)
        if modality == "flow":
            return self._flow(video)
        film = self._first(video, ("videos/{v}.MP4", "videos/{v}.mp4"))
        return self._rgb(video, film) if modality == "rgb" else self._audio(video, film)

    def _rgb(self, video: str, film: Path | None) -> Source | None:
        if film is not None:
            return Source("video", (film,))
        folder = self._first(video, ("rgb_frames/{v}",))
        return None if folder is None else Source("frames", (folder,), rate=_rate(video, folder))

    def _flow(self, video: str) -> Source | None:
        """Flow of 2018 skips every other picture and is bounded by 25 pixels, the extension's by 8 and skips none.

        Both are brought to pixels in a thirtieth of a second, 25 at most.
        """
        folder = self._first(video, ("flow_frames/{v}",))
        if folder is None or not all((folder / axis).is_dir() for axis in ("u", "v")):
            return None
        paths = (folder / "u", folder / "v")
        if is_extension(video):
            return Source("flow", paths, rate=50.0, gain=8 / 25 * 50 / 30)
        return Source("flow", paths, rate=30.0, first=0.5)  # JPEG n goes with flow (n - 1) // 2 + 1

    def _audio(self, video: str, film: Path | None) -> Source | None:
        if film is not None:
            return Source("audio", (film,))
        sound = self._first(video, ("audio/{v}.wav", "wavs/{v}.wav"))
        if sound is not None:
            return Source("audio", (sound,))
        for name in _AUDIO_FILES:
            if (self.root / name).is_file():
                return Source("hdf5_audio", (self.root / name,), rate=float(AUDIO_RATE), entry=video)
        return None

    def _imu(self, video: str) -> Source | None:
        accl = self._first(video, ("meta_data/{v}-accl.csv",))
        gyro = self._first(video, ("meta_data/{v}-gyro.csv",))
        known = accl or gyro
        if known is None:
            return None
        # One of the pair without the other is a broken download, which reading it will report.
        return Source(
            "imu", (accl or known.with_name(f"{video}-accl.csv"), gyro or known.with_name(f"{video}-gyro.csv"))
        )

    def _first(self, video: str, patterns: tuple[str, ...]) -> Path | None:
        participant = video[:3]
        for base in (self.root, self.root / "EPIC-KITCHENS"):
            for pattern in patterns:
                kind, leaf = pattern.format(v=video).split("/")
                # The server sorts by the 2018 split, which says nothing about today's.
                folders = (f"{participant}/{kind}", f"{kind}/train/{participant}", f"{kind}/test/{participant}")
                for folder in (*folders, f"{kind}/{participant}", kind):
                    path = base / folder / leaf
                    if path.exists():
                        return path
        return None


def is_extension(video: str) -> bool:
    """Whether a video is of 2020 (PXX_1YY), not of 2018 (PXX_YY)."""
    return len(video.partition("_")[2]) == 3


def _rate(video: str, folder: Path) -> float:
    """Extracted pictures a second."""
    if not is_extension(video):
        return 60.0
    if video in _ONCE_AT_60:
        count = sum(1 for _ in folder.iterdir())
        return 60.0 if count > _MOST_AT_50[video] else 50.0
    return 50.0


# Pictures of the first, wrong release: 222,487 and 146,918; of the mended one, 50 / 60 of that.
_MOST_AT_50 = {"P01_109": 200_000, "P27_103": 135_000}
