"""Limits on the sizes that headers of media declare. Larger sizes are refused before memory is allocated."""

from mmcache.extract.media.base.requests import MediaError

MAX_VIDEO_PIXELS = 36_000_000  # an image of 8K cinema has 35.4 million; a decoder holds up to 17 of them
MAX_IMAGE_PIXELS = 1 << 26  # 8192 x 8192; in a file of its own, where only one is held
MAX_ASPECT = 32  # long side by short side, which becomes `short_side`: beyond panoramas and mosaics of cameras
MAX_RATE = 1_536_000  # Hz: above the fastest converters of audio and ultrasound; 30 s of it take 0.4 GB
MAX_CHANNELS = 512  # FFmpeg's own limit; the largest arrays of microphones have about half of it
MAX_SAMPLES_A_FRAME = 1 << 22  # of audio, decoded at once; codecs use up to 2^20


def check_video_size(width: float, height: float, name: str) -> None:
    """Raise MediaError for images of a video that are empty, too large, or too narrow to be scaled by their shorter
    side."""
    _check_size(width, height, f"{name}: its images have", MAX_VIDEO_PIXELS)


def check_image_size(width: float, height: float, name: str) -> None:
    """The same for an image in a file of its own."""
    _check_size(width, height, f"{name} has", MAX_IMAGE_PIXELS)


def _check_size(width: float, height: float, subject: str, most: int) -> None:
    size = f"{subject} {width:.0f} x {height:.0f} pixels"
    if width < 1 or height < 1:
        raise MediaError(size)
    if width * height > most:
        raise MediaError(f"{size}; at most {most:,} pixels are read. Scale it down")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise MediaError(f"{size}; the longer side may be at most {MAX_ASPECT} times the shorter one. Crop it")


def check_audio(rate: int, channels: int, what: str) -> None:
    """Raise MediaError for audio whose header declares an impossible sampling rate or number of channels."""
    if not 1 <= rate <= MAX_RATE:
        raise MediaError(f"{what} declares a sampling rate of {rate:,} Hz; 1 to {MAX_RATE:,} are read")
    if not 1 <= channels <= MAX_CHANNELS:
        raise MediaError(f"{what} declares {channels:,} channels; 1 to {MAX_CHANNELS} are read")
