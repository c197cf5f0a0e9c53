"""End-to-end segments a second of `mmcache extract`, as a share of the encoder alone on ready tensors.

Real films (H.264 at 30 pictures a second, AAC) are decoded, preprocessed, encoded at the encoder's full input size with
seeded random weights, and written as shards by Ray workers: the whole pipeline but for the start of Ray and the loading
of weights, which are given apart as `start_s`. The ceiling is the same encoder in one process on all CPUs, on the
same batches already preprocessed, measured before and after. With two workers the CPUs are shared out between them.

    make bench-extract
"""

import argparse
import math
import shutil
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from harness import record

from mmcache.extract.encoders import build_encoder
from mmcache.extract.media import read_media
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import Plan, make_plan
from mmcache.extract.run.pipeline import NoProgress, run_extract

RATE, SOUND_RATE = 30, 48000
SEGMENT_S, FILM_SEGMENTS = 3.0, 8
ENCODERS = {"rgb": "swin3d_t", "audio": "ast_b"}
SHARD_MB = 5.0  # a shard of 4 segments of swin3d_t: a run this short would else be dealt to two workers unevenly


def write_film(path: Path, width: int, height: int, seed: int) -> None:
    """A film whose pictures move everywhere, so that it costs what filmed scenes cost to decode."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 256, (height // 8 + 64, width // 8 + 64, 3), dtype=np.uint8)
    texture = np.kron(texture, np.ones((8, 8, 1), np.uint8))
    seconds = SEGMENT_S * FILM_SEGMENTS
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "23"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for i in range(int(seconds * RATE)):
            x, y = int(200 + 190 * math.sin(i / 17)), int(200 + 190 * math.cos(i / 23))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(texture[y : y + height, x : x + width]), "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        sound = rng.normal(0, 0.1, int(seconds * SOUND_RATE)).astype(np.float32)
        for start in range(0, len(sound), 1024):
            part = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], "fltp", "mono")
            part.sample_rate, part.pts, part.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
            container.mux(audio.encode(part))
        container.mux(audio.encode())


def write_manifest(root: Path, films: int, width: int, height: int) -> Path:
    lines = ["rgb,start,stop,label"]
    for film in range(films):
        write_film(root / f"film{film}.mp4", width, height, film)
        spans = ((n * SEGMENT_S, (n + 1) * SEGMENT_S) for n in range(FILM_SEGMENTS))
        lines += [f"film{film}.mp4,{start},{stop},a" for start, stop in spans]
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


class Encoding(NoProgress):
    """The seconds between the first shard's start and the last one's end."""

    seconds = 0.0

    def start(self, totals: dict[str, int]) -> None:
        self._began = time.perf_counter()

    def stop(self) -> None:
        self.seconds = time.perf_counter() - self._began


def plan_of(root: Path, store: Path, modality: str, workers: int, batch_size: int) -> Plan:
    return make_plan(
        ExtractConfig(
            "manifest", root, store=store, modalities=[modality], encoder={modality: ENCODERS[modality]},
            weights="random", workers=workers, batch_size=batch_size, shard_mb=SHARD_MB,
        )
    )  # fmt: skip


def end_to_end(root: Path, store: Path, modality: str, workers: int, batch_size: int) -> tuple[float, float]:
    """Seconds a segment while encoding, and seconds of everything before and after."""
    shutil.rmtree(store, ignore_errors=True)
    plan, progress = plan_of(root, store, modality, workers, batch_size), Encoding()
    began = time.perf_counter()
    run_extract(plan, progress)
    whole = time.perf_counter() - began
    return progress.seconds / len(plan.segments), whole - progress.seconds


def ready_batches(root: Path, store: Path, modality: str, batch_size: int, batches: int) -> list[torch.Tensor]:
    """The first segments, preprocessed."""
    plan = plan_of(root, store, modality, 1, batch_size)
    part, encoder = plan.modalities[0], build_encoder(ENCODERS[modality], "random")
    rows = plan.segments.iloc[: batches * batch_size]
    media = [
        encoder.preprocess(read_media(part.sources[s.video], s.start_s, s.stop_s, encoder.info.request).array)
        for s in rows.itertuples()
    ]
    return list(torch.stack(media).split(batch_size))


def encoder_alone(encoder: Any, batches: list[torch.Tensor]) -> list[float]:
    """Seconds a segment of every batch but the first, which warms up."""
    seconds = []
    for batch in batches:
        began = time.perf_counter()
        encoder.encode(batch)
        seconds.append((time.perf_counter() - began) / len(batch))
    return seconds[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--films", type=int, default=2, help=f"of {FILM_SEGMENTS} segments of {SEGMENT_S:g} s")
    parser.add_argument("--size", default="640x360", help="of their pictures")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--modalities", default="rgb,audio")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = write_manifest(Path(folder), arguments.films, width, height)
        for modality in arguments.modalities.split(","):
            batches = ready_batches(root, root / "s.zarr", modality, arguments.batch_size, 3)
            encoder = build_encoder(ENCODERS[modality], "random")
            ran: dict[int, list[tuple[float, float]]] = {int(count): [] for count in arguments.workers.split(",")}
            alone = encoder_alone(encoder, batches)
            for _ in range(arguments.repeats):
                for workers in ran:
                    found = end_to_end(root, root / "s.zarr", modality, workers, arguments.batch_size)
                    ran[workers].append(found)
                    alone += encoder_alone(encoder, batches)
            ceiling = statistics.median(alone)
            for workers, found in ran.items():
                each = [seconds for seconds, _ in found]
                rows.append(
                    {
                        "name": f"extract {modality}, {workers} worker{'s' if workers > 1 else ''}",
                        "encoder": ENCODERS[modality],
                        "film": arguments.size,
                        "segments": arguments.films * FILM_SEGMENTS,
                        "batch": arguments.batch_size,
                        "shard_mb": SHARD_MB,
                        "segments_per_s": 1 / statistics.median(each),
                        "fastest": 1 / min(each),
                        "slowest": 1 / max(each),
                        "encoder_alone_per_s": 1 / ceiling,
                        "share_of_ceiling": ceiling / statistics.median(each),
                        "start_s": statistics.median(start for _, start in found),
                        "repeats": arguments.repeats,
                    }
                )
    path = record("extract", rows)
    for row in rows:
        print(
            f"{row['name']:>26}: {row['segments_per_s']:6.3f} segments/s, {row['share_of_ceiling']:.2f} of the encoder "
            f"alone ({row['encoder_alone_per_s']:.3f}); starting took {row['start_s']:.1f} s"
        )
    print(f"Rows: {path}")


if __name__ == "__main__":
    main()
