"""The price of not caching: an epoch of fusion training that runs the encoders, against one that reads the store.

Both train the same KARMMA student on the same segments with the same frozen encoders at their full input size
(swin3d_t on 32 frames of 224 x 224, ast_t on 10.24 s of sound, seeded random weights), the same k and precision.
Decoding is counted where it happens: in every epoch without a cache, never with one.

    make bench-epoch
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import record, timed

from mmcache.cli.demo_data import DemoVideo, write_epic_demo
from mmcache.extract.encoders import build_encoder
from mmcache.extract.media import read_media
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import Plan, make_plan
from mmcache.extract.run.pipeline import NoProgress, run_extract
from mmcache.fuse.network.model import Model
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.parts.losses.cross_entropy import cross_entropy
from mmcache.fuse.runs.spec import ModelSpec
from mmcache.store import FeatureStore, k_average
from mmcache.store.load.loader import Loader

ENCODERS = {"rgb": "swin3d_t", "audio": "ast_t"}
K, BATCH = 300, 8
PRECISION = "bf16"  # as --precision bf16: on processors that have it, an epoch is bound by the student's products


def train_step(model: Model, optimiser: torch.optim.Optimizer, tokens: dict[str, torch.Tensor], labels: Any) -> None:
    kept = torch.ones(len(labels["verb"]), len(tokens), dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16, enabled=PRECISION == "bf16"):
        outputs = model.outputs(tokens, None, kept)
    loss = cross_entropy(outputs, labels, smoothing=0.0, each=False)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def encode_epoch(plan: Plan, model: Model, optimiser: torch.optim.Optimizer, encoders: dict[str, Any]) -> None:
    """Decode, encode, k-average and train, batch by batch, as training without a cache does."""
    segments = plan.segments
    for start in range(0, len(segments), BATCH):
        batch = segments.iloc[start : start + BATCH]
        tokens = {}
        for part in plan.modalities:
            encoder = encoders[part.modality]
            media = [
                encoder.preprocess(read_media(part.sources[s.video], s.start_s, s.stop_s, encoder.info.request).array)
                for s in batch.itertuples()
            ]
            tokens[part.modality] = torch.from_numpy(k_average(encoder.encode(torch.stack(media)), K)[0])
        labels = {task: torch.from_numpy(batch[task].to_numpy(np.int64)) for task in ("verb", "noun")}
        train_step(model, optimiser, tokens, labels)


def cached_epoch(loader: Loader, model: Model, optimiser: torch.optim.Optimizer, epoch: int) -> None:
    for batch in loader.epoch(batch_size=BATCH, seed=0, epoch=epoch):
        train_step(model, optimiser, batch.tokens, batch.labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--segments", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "epic"
        write_epic_demo(root, [DemoVideo("P01_101", "train", arguments.segments)])
        (root / "mmcache.yaml").unlink()
        config = ExtractConfig(
            dataset="epic", root=root, store=Path(folder) / "epic.zarr", modalities=list(ENCODERS), encoder=ENCODERS,
            weights="random", k=K,
        )  # fmt: skip
        # The data set lists an empty validation and test split; one video of train is all there is to read.
        plan = make_plan(config)
        run_extract(plan, NoProgress())
        store = FeatureStore.open(config.store_path())
        loader = Loader(store, list(ENCODERS), store.rows("train"), k=K, resident="auto")  # as a run chooses
        spec = ModelSpec({m: (e, loader.n_tokens(m), loader.width(m)) for m, e in ENCODERS.items()}, store.tasks)
        model = Model(spec, resolve_options("karmma", {"bench": {"alpha": 1.0}}))
        optimiser = torch.optim.AdamW(model.parameters(), fused=True)
        encoders = {modality: build_encoder(name, "random") for modality, name in ENCODERS.items()}
        cached = timed(lambda: cached_epoch(loader, model, optimiser, 0))
        encoded = timed(lambda: encode_epoch(plan, model, optimiser, encoders), repeats=3, warm_up=0)
    ratio = encoded["median_s"] / cached["median_s"]
    rows = [
        {
            "name": name,
            "segments": arguments.segments,
            "encoders": ENCODERS,
            "k": K,
            "batch": BATCH,
            "precision": PRECISION,
            **figures,
        }
        | {"segments_per_s": arguments.segments / figures["median_s"], "times_faster": ratio}
        for name, figures in (("epoch from the store", cached), ("epoch that runs the encoders", encoded))
    ]
    path = record("epoch", rows)
    for row in rows:
        print(f"{row['name']:>30}: {row['median_s']:8.3f} s  {row['segments_per_s']:8.1f} segments/s")
    print(f"An epoch from the store is {ratio:.0f} times faster. Rows: {path}")


if __name__ == "__main__":
    main()
