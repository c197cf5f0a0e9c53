"""What a run writes down of every epoch: a line of metrics.jsonl, TensorBoard events if asked for, and a plot."""

import socket
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np

from mmcache.fuse.runs.drawing import take_texts_literally
from mmcache.store.files.atomic import atomic_file, with_path

CURVES_FILE = "curves.svg"


class EventLog:
    """TensorBoard event files in the run's folder, in tensorboardX's format.

    They are written at once: on a full disk, the thread of SummaryWriter ends with a traceback, and the run hangs.

    Args:
        first: the epoch that comes next; events of later ones, left by a run that was stopped, are void.
    """

    def __init__(self, folder: Path, first: int) -> None:
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._path = folder / f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
        self._event = Event
        start = SessionLog(status=SessionLog.START)
        self._put(Event(step=first, file_version="brain.Event:2"), Event(step=first, session_log=start))

    def write(self, line: dict[str, Any]) -> None:
        """One line of metrics.jsonl: numbers under their names, the accuracies that pick the epoch under validation/.

        Raises OSError when the disk is full.
        """
        from tensorboardX.summary import scalar

        figures: dict[str, float] = {}
        for name, value in line.items():
            if isinstance(value, dict):
                figures |= {f"{name}/{task}": figure for task, figure in value.items()}
            elif name != "epoch":
                figures[name] = value
        said = (scalar(name, figure) for name, figure in figures.items())
        self._put(*(self._event(step=line["epoch"], wall_time=time.time(), summary=summary) for summary in said))

    def _put(self, *events: Any) -> None:
        """Append events to the file, each as a record of TensorFlow's: its length, its bytes, a checksum of either."""
        from tensorboardX.record_writer import masked_crc32c

        records = b""
        for event in events:
            data = event.SerializeToString()
            for part in (struct.pack("<Q", len(data)), data):
                records += part + struct.pack("<I", masked_crc32c(part))
        try:
            with open(self._path, "ab") as file:
                file.write(records)
        except OSError as error:
            raise with_path(error, self._path) from error


def plot_curves(metrics: list[dict[str, Any]], path: Path) -> None:
    """Draw an SVG of a run's epochs: the parts of the loss, and the accuracy that picks the epoch where one does."""
    import matplotlib
    from matplotlib.figure import Figure

    epochs = [line["epoch"] + 1 for line in metrics]
    losses = [n for n, value in metrics[-1].items() if isinstance(value, float) and n not in ("lr", "seconds")]
    tasks = list(dict.fromkeys(task for line in metrics for task in line["validation"]))
    figure = Figure(figsize=(8, 3))
    # Margins by number: those that matplotlib works out cost as much as the drawing, in every run of a sweep.
    left, right = figure.subplots(1, 2, gridspec_kw={"left": 0.06, "right": 0.98, "bottom": 0.16, "top": 0.9})
    for name in losses:
        left.plot(epochs, [line.get(name, np.nan) for line in metrics], label=name)
    for task in tasks:
        right.plot(epochs, [line["validation"].get(task, np.nan) for line in metrics], label=task)
    left.set(xlabel="epoch", title="loss")
    right.set(xlabel="epoch", title="accuracy on what picks the epoch (%)")
    for axes in (left, right):
        if axes.lines:
            axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    take_texts_literally(figure)
    with matplotlib.rc_context({"svg.hashsalt": "mmcache"}), atomic_file(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
