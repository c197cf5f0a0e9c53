"""Find the media of EPIC-KITCHENS-100: the layouts of its downloader and server, and common conversions.

    PXX/videos/PXX_YY.MP4            or videos/{train,test}/PXX/..., or videos/...; also below EPIC-KITCHENS/
    PXX/rgb_frames/PXX_YY/           frame_0000000001.jpg ..., unpacked from the .tar by hand
    PXX/flow_frames/PXX_YY/{u,v}/    the same, grey
    PXX/meta_data/PXX_YYY-accl.csv   and -gyro.csv; extension videos only
    audio/PXX_YY.wav                 audio taken out of the MP4, as the audio baselines keep it
    EPIC_audio.hdf5                  the same in one file: a waveform of 24 kHz a video
    PXX/hand-objects/PXX_YY.pkl      hands and objects detected in every extracted frame
    *.hdf5, *.h5, hdf5/*             frames, flow and detections packed into HDF5 (packed.py): file[video][narration],
                                     and file[video][number] for detections

Frame numbers count extracted JPEGs at 60 a second for videos of 2018 (PXX_YY) and 50 for the extension (PXX_1YY).
"""

import functools
from collections.abc import Callable
from pathlib import Path

from mmcache.extract.datasets.files.packed_media import PackedMedia
from mmcache.extract.media.base.requests import MediaError
from mmcache.extract.media.base.source import Kind, Source
from mmcache.extract.media.boxes.epic_boxes import message_places

_AUDIO_FILES = ("EPIC_audio.hdf5", "audio/EPIC_audio.hdf5")
AUDIO_RATE = 24000  # of the HDF5 file


class EpicMedia:
    """Finds the media of a video below `root`.

    Args:
        narrations: whether segments are narrations of EPIC-KITCHENS-100. Frames packed by narration are of no use to
            others, and the ids of EPIC-SOUNDS look the same.
    """

    def __init__(self, root: Path, narrations: bool = False) -> None:
        self.root = root
        self._narrations = narrations

    @functools.cached_property
    def _packed(self) -> PackedMedia:
        return PackedMedia(self.root)

    def source(self, modality: str, video: str) -> Source | None:
        """The media of one video, or None when they are not on disk."""
        if modality == "imu":
            return self._imu(video)
        if modality == "flow":
            return self._flow(video)
        if modality == "boxes":
            return self._boxes(video)
        video_file = self._first(video, ("videos/{v}.MP4", "videos/{v}.mp4"))
        return self._rgb(video, video_file) if modality == "rgb" else self._audio(video, video_file)

    def _rgb(self, video: str, video_file: Path | None) -> Source | None:
        if video_file is not None:
            return Source("video", (video_file,))
        folder = self._first(video, ("rgb_frames/{v}",))
        if folder is None:
            return self._packed_by_narration("rgb", "hdf5_frames", video)
        return Source("frames", (folder,), rate=_rate(video, lambda: sum(1 for _ in folder.iterdir())))

    def _flow(self, video: str) -> Source | None:
        """Flow of 2018 skips every other frame and is bounded by 25 pixels, the extension's by 8 and skips none.

        Both are brought to pixels in a thirtieth of a second, 25 at most.
        """
        gain = 8 / 25 * 50 / 30 if is_extension(video) else 1.0
        folder = self._first(video, ("flow_frames/{v}",))
        if folder is None or not all((folder / axis).is_dir() for axis in ("u", "v")):
            return self._packed_by_narration("flow", "hdf5_flow", video, gain)
        paths = (folder / "u", folder / "v")
        if is_extension(video):
            return Source("flow", paths, rate=50.0, gain=gain)
        return Source("flow", paths, rate=30.0, first=0.5)  # JPEG n goes with flow (n - 1) // 2 + 1

    def _boxes(self, video: str) -> Source | None:
        detections = self._first(video, ("hand-objects/{v}.pkl",))
        if detections is not None:
            return Source("epic_boxes", (detections,), rate=_rate(video, lambda: _messages(detections)))
        packed = self._packed.file("boxes", video)
        return None if packed is None else Source("hdf5_boxes", (packed,), rate=_rate(video, None), entry=video)

    def _packed_by_narration(self, modality: str, kind: Kind, video: str, gain: float = 1.0) -> Source | None:
        packed = self._packed.file(modality, video) if self._narrations else None
        return None if packed is None else Source(kind, (packed,), gain=gain, entry=f"{video}/{{id}}")

    def _audio(self, video: str, video_file: Path | None) -> Source | None:
        if video_file is not None:
            return Source("audio", (video_file,))
        audio = self._first(video, ("audio/{v}.wav", "wavs/{v}.wav"))
        if audio is not None:
            return Source("audio", (audio,))
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
                # The server sorts by the split of 2018, which differs from today's.
                folders = (f"{participant}/{kind}", f"{kind}/train/{participant}", f"{kind}/test/{participant}")
                for folder in (*folders, f"{kind}/{participant}", kind):
                    path = base / folder / leaf
                    if path.exists():
                        return path
        return None


def is_extension(video: str) -> bool:
    """Whether a video is of 2020 (PXX_1YY), not of 2018 (PXX_YY)."""
    return len(video.partition("_")[2]) == 3


def _rate(video: str, count: Callable[[], int] | None) -> float:
    """Extracted frames a second.

    Args:
        count: how many there are of the video, where that can be counted.
    """
    if not is_extension(video):
        return 60.0
    if video in _ONCE_AT_60 and count is not None and count() > _ONCE_AT_60[video]:
        return 60.0
    return 50.0


def _messages(path: Path) -> int:
    """How many frames a file of detections is about; 0 where it is damaged, which reading it will report."""

    try:
        return len(message_places(path))
    except MediaError:
        return 0


# Released at 60 frames a second at first, though their labels count 50: 222,487 and 146,918 frames then, 50 / 60 of
# that once mended. More than this is of the first release.
_ONCE_AT_60 = {"P01_109": 200_000, "P27_103": 135_000}
