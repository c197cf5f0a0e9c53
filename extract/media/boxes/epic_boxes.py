"""Hand-object detections of EPIC-KITCHENS-100: `<video>.pkl`, a pickled list with a protobuf message a frame.

Item i is about frame i + 1. The pickle is not loaded, not even with its classes forbidden: an unpickler still
allocates whatever the file tells it to. Its opcodes are walked with pickletools, those that make a flat list of byte
strings are allowed and all others refused, and of each item only its place in the file is kept. So nothing in the file
is executed, and an hour (216,000 frames) takes 3 MB.

Messages: github.com/epic-kitchens/epic-kitchens-100-hand-object-bboxes, types.proto. Zero fields are left out on the
wire, as proto3 does. A hand's side, state and offset are not read.
"""

import functools
import mmap
import pickletools
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from mmcache.extract.media.base.requests import BoxCategory, BoxesRequest, MediaError, Reading
from mmcache.extract.media.boxes.box_arrays import COLUMNS, EPIC_PIXEL, boxes_over_time
from mmcache.store.files.user_file import check_regular, open_regular

_MOST_OPCODES = 4_000_000
_MOST_BYTES = 1 << 20  # of one message; real ones have some hundreds
_HEADER = {"SHORT_BINBYTES": 2, "BINBYTES": 5, "BINBYTES8": 9}  # bytes from an opcode to its data
_PUT, _GET = ("BINPUT", "LONG_BINPUT", "MEMOIZE"), ("BINGET", "LONG_BINGET")
_FRAMING = ("PROTO", "FRAME", "MARK", "APPEND", "APPENDS", "STOP")


def read_epic_boxes(path: Path, start_s: float, stop_s: float, request: BoxesRequest, rate: float) -> Reading:
    """Hands and objects of [start_s, stop_s), coordinates as shares of the frame.

    Args:
        rate: frames a second.

    Returns:
        Reading of (frames, boxes, 6) float32.

    Raises:
        MediaError: the file cannot be read, is no pickled list of messages, or ends before the segment starts.
    """
    items = message_places(path)
    try:
        with open_regular(path) as file:
            return boxes_over_time(
                lambda number: _boxes(file, items, number, path.name),
                span=(1, len(items)),
                clock=(rate, 0.0),
                pixel=EPIC_PIXEL,
                start_s=start_s,
                stop_s=stop_s,
                request=request,
                what=path.name,
            )
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}") from error


def message_places(path: Path) -> NDArray[np.int64]:
    """(frames, 2): where each message begins in the file, and its length. Raises MediaError."""
    try:
        stat = check_regular(path)
        return _message_places(path, stat.st_mtime_ns, stat.st_size)
    except FileNotFoundError as error:
        raise MediaError(f"{path.name} is not there") from error
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}") from error


@functools.lru_cache(maxsize=4)  # neighbouring segments share a video
def _message_places(path: Path, mtime_ns: int, size: int) -> NDArray[np.int64]:
    if size == 0:
        raise MediaError(f"{path.name} is empty (0 bytes)")
    places: list[tuple[int, int]] = []
    memo: dict[int, tuple[int, int] | None] = {}
    last: tuple[int, int] | None = None
    listed = stopped = False
    argument: Any
    position: Any
    with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            # Mapped: a file object would first allocate as much as a length in the file says.
            for count, (opcode, argument, position) in enumerate(pickletools.genops(cast(IO[bytes], data))):
                if count > _MOST_OPCODES:
                    raise MediaError(f"{path.name} has more than {_MOST_OPCODES:,} opcodes; an hour has a million")
                if opcode.name in _HEADER and listed:
                    last = (position + _HEADER[opcode.name], len(argument))
                    places.append(last)
                elif opcode.name == "EMPTY_LIST" and not listed:
                    listed, last = True, None
                elif opcode.name in _PUT:
                    memo[len(memo) if opcode.name == "MEMOIZE" else int(argument)] = last
                elif opcode.name in _GET and memo.get(int(argument)) is not None:
                    last = memo[int(argument)]
                    assert last is not None
                    places.append(last)
                elif opcode.name not in _FRAMING:
                    raise MediaError(
                        f"{path.name} is no pickled list of byte strings: it holds {opcode.name} at byte {position}, "
                        "and nothing else is unpickled; take the file from the official download"
                    )
                stopped = opcode.name == "STOP"
        except MediaError:
            raise
        except Exception as error:  # a damaged argument makes pickletools raise ValueError, IndexError and others
            raise MediaError(f"{path.name} is damaged or no pickle: {' '.join(str(error).split())[:200]}") from error
    if not (listed and stopped and places):
        raise MediaError(f"{path.name} is a pickle of something else than a list of messages")
    return np.array(places, np.int64)


def _boxes(file: Any, items: NDArray[np.int64], number: int, name: str) -> NDArray[np.float64]:
    """(n, 6) of one frame, hands first."""
    offset, length = items[number - 1].tolist()
    if length > _MOST_BYTES:
        raise MediaError(f"{name}: the message of frame {number} has {length} bytes; {_MOST_BYTES} are allowed")
    file.seek(offset)
    message = _detections()()
    try:
        message.ParseFromString(file.read(length))
    except DecodeError as error:
        raise MediaError(f"{name}: the message of frame {number} is damaged: {error}") from error
    if message.frame_number != number:
        raise MediaError(f"{name}: item {number} says it is of frame {message.frame_number}; they are out of step")
    rows = [
        (box.bbox.left, box.bbox.top, box.bbox.right, box.bbox.bottom, category, box.score)
        for category, boxes in ((BoxCategory.HAND, message.hands), (BoxCategory.OBJECT, message.objects))
        for box in boxes
    ]
    return np.array(rows, np.float64).reshape(-1, COLUMNS)


# message -> its fields: (name, number, type or the name of a message); `repeated` ends in []
_MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "BBox": (("left", 1, "float"), ("top", 2, "float"), ("right", 3, "float"), ("bottom", 4, "float")),
    "Detection": (("bbox", 1, "BBox"), ("score", 2, "float")),  # of a hand or an object
    "Detections": (("frame_number", 2, "int32"), ("hands", 3, "Detection[]"), ("objects", 4, "Detection[]")),
}


@functools.cache
def _detections() -> Any:
    """The class of a frame's message."""
    kinds = descriptor_pb2.FieldDescriptorProto
    package = "mmcache.hand_objects"
    file = descriptor_pb2.FileDescriptorProto(name="hand_objects.proto", package=package, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            label = kinds.LABEL_REPEATED if kind.endswith("[]") else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if kind in ("float", "int32"):
                added.type = kinds.TYPE_FLOAT if kind == "float" else kinds.TYPE_INT32
            else:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".{package}.{kind.removesuffix('[]')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Detections"))
