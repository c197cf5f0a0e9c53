"""The options that every strategy shares: data, network, masks, optimiser, teacher, run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mmcache.fuse.options.fields import Count, Rate, Share, Text, Weight, Whole, fields_of, is_place, option


@dataclass(frozen=True)
class DataOptions:
    """Which segments a run learns from and is tested on."""

    store: Path | None = option(None, "Store to train on; the newest under cache/ where none is named.", place=True)
    modalities: list[str] | None = option(None, "Modalities to read; all in the store.", teacher=True)
    protocol: str | None = option(None, "Another published division of the segments.", teacher=True)
    k: Count = option(300, "k-Average: at most so many tokens a modality.", teacher=True)
    group: str | None = option(
        None,
        "Column whose values stay together in the held-out part of train; video where none is named.",
        teacher=True,
    )
    fold: Text | None = option(None, "The value of `group` that is tested; all other segments are train.", teacher=True)
    train_on: Literal["all", "complete"] = option("all", "Train on all segments, or on those that have every modality.")
    train_missing: dict[str, Rate] = option(
        {}, "Modality: share of the training segments that lack it for good.", varies=True, teacher=True
    )
    train_modalities: list[str] | None = option(
        None, "Labels are learned from these modalities alone (zero-shot); all where none is named.", teacher=True
    )
    balance: str | None = option(None, "A task whose classes come equally often in training.")
    validation: Share | None = option(
        None,
        "Share of train that picks the epoch; 0 keeps the last one. The validation split picks, or 0.1 of train.",
        teacher=True,
    )
    pick_by: Literal["mean", "full"] = option(
        "mean", "Accuracy that picks the epoch: the mean over all subsets, or that of the full one.", teacher=True
    )
    eval_split: str | None = option(None, "Split to report on; the store's own where none is named.", teacher=True)


@dataclass(frozen=True)
class NetworkOptions:
    """The fusion network. Those from `depth` on exist where a chosen part reads them."""

    fusion: str = option("transformer", "What mixes the tokens of several modalities.", backbone=True)
    handler: str = option("zeros", "What stands in for the tokens of a missing modality.")
    head: str = option("shared", "From fused tokens to logits.")
    pool: str = option("none", "One vector a modality before the handler: none, mean or transformer.", backbone=True)
    width: Count = option(384, "Fusion width d.", backbone=True)
    positions: bool = option(False, "A learned vector for every token place.", backbone=True)
    modality_embedding: bool = option(True, "A learned vector for every modality.", backbone=True)
    average: Literal["logits", "probabilities"] = option("logits", "What a segment's prediction is the mean of.")
    average_missing: bool = option(True, "A missing modality's vector counts too, where its handler gives it tokens.")
    freeze: bool = option(False, "Keep the weights that a run starts from; handler and head alone are trained.")
    depth: Count = option(1, "Blocks of the fusion.", backbone=True)
    heads: Count = option(8, "Attention heads.", backbone=True)
    ffn_ratio: Annotated[float, Field(gt=0)] = option(4.0, "Hidden width of an MLP, in widths.", backbone=True)
    dropout: Share = option(0.0, "Dropout of MLPs and of attention's output.")
    attention_dropout: Share = option(0.0, "Dropout of attention weights.")
    block_norm: Literal["pre", "post"] = option(
        "pre", "LayerNorm before the layers of handlers and pools, or after them.", backbone=True
    )


@dataclass(frozen=True)
class MaskOptions:
    """Which of a segment's modalities are kept in training; each sampler has options of its own."""

    sampler: str = option("none", "How keep masks are drawn in training.", varies=True)


@dataclass(frozen=True)
class OptimiserOptions:
    """AdamW with a linear warm-up and a cosine, and what regularises the labels."""

    epochs: Count = option(100, "Passes over the training split.", teacher=True)
    batch_size: Count = option(32, "Segments a batch.", teacher=True)
    accumulate: Count = option(1, "Batches a step of the optimiser.", teacher=True)
    lr: Annotated[float, Field(gt=0, le=1e4)] = option(1e-4, "Peak learning rate.", varies=True)
    lr_end: Weight = option(1e-6, "Where the warm-up starts and the cosine ends.", varies=True)
    warmup: Share = option(0.1, "Share of the run in which the learning rate rises.", varies=True)
    weight_decay: Weight = option(0.05, "Weight decay of AdamW.", varies=True)
    clip: Weight = option(1.0, "Largest norm of the gradient; 0 = no clipping.", varies=True)
    label_smoothing: Share = option(0.0, "Label smoothing of cross-entropy.")
    class_weights: Literal["none", "inverse", "root"] = option(
        "none", "Weights of cross-entropy by how seldom a class is in training: inverse, or its root."
    )
    patience: Whole = option(0, "Epochs without a better one, after which training ends early; 0 = never.")


@dataclass(frozen=True)
class TeacherOptions:
    """The teachers of a strategy that learns from teachers."""

    teacher: Path | list[Path] | None = option(
        None, "A run to learn from, or several; the strategy's own are trained first where none is named.", place=True
    )
    teacher_modalities: list[str] | None = option(
        None, "Modalities of the teachers that are trained first; the run's own where none is named.", varies=True
    )
    calibrate: bool = option(
        False, "Bring each teacher to the temperature at which it is right as often as it is confident."
    )


@dataclass(frozen=True)
class RunOptions:
    """Where and how a run is computed."""

    out: Path | None = option(None, "Run folder; runs/STORE/STRATEGY-IDENTITY where none is named.", place=True)
    init_from: Path | None = option(None, "A run whose weights this one starts from.", place=True)
    seed: Whole = option(0, "Seed of weights, order, masks and dropout.", varies=True, teacher=True)
    device: str = option("auto", "auto, cpu, cuda or cuda:1.", place=True, teacher=True)
    precision: Literal["auto", "bf16", "fp32"] = option(
        "auto", "Matrix products in training; auto = bf16 on GPUs that have it.", teacher=True
    )
    resident: Literal["auto", "gpu", "ram", "disk"] = option(
        "auto", "Where tokens lie during training.", place=True, teacher=True
    )
    tensorboard: bool = option(False, "Write event files into the run folder too.", place=True, teacher=True)


SHARED: dict[str, type] = {
    "data": DataOptions,
    "network": NetworkOptions,
    "masks": MaskOptions,
    "optimiser": OptimiserOptions,
    "run": RunOptions,
}
# Options that say where a run lies or is computed.
PLACES = tuple(
    field.name for kind in (*SHARED.values(), TeacherOptions) for field in fields_of(kind) if is_place(field)
)
# Options of NetworkOptions that exist where a chosen part reads them.
READ_BY_PARTS = ("depth", "heads", "ffn_ratio", "dropout", "attention_dropout", "block_norm")
