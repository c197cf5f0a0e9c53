"""What `mmcache fuse` can be told. Defaults here are those of every strategy that does not say otherwise."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from mmcache.common.settings import resolve
from mmcache.fuse.checks import CHOICES, add_misfits
from mmcache.fuse.laws import settle_law
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store.ground.errors import ConfigError, Problems, unknown_name

# The names are listed here, not imported, so that a wrong one is reported without waiting for torch.
# A test holds these lists to the tables they name.
FUSIONS = ("transformer", "mbt", "sum", "concat", "mlp", "late")
FILLS = ("zeros", "skip", "token", "karmma", "reconstruct", "prompt", "proxy", "shaspec")
HEADS = ("shared", "per_modality", "linear", "gap", "pooler")
LAWS = (
    "none", "target_only", "bernoulli_keep_one", "uniform_count", "uniform_count_a_batch", "uniform_set_a_batch",
    "uniform_subset", "complete_else_count", "pattern_table",
)  # fmt: skip
RESIDENT = ("auto", "gpu", "ram", "disk")
# Where, not what: no part of a run's identity.
_PLACES = ("store", "out", "device", "resident", "tensorboard", "teacher", "start")
# What a run takes over from the one it starts from.
_NETWORK = (
    "fusion", "width", "depth", "heads", "ffn_ratio", "positions", "modality_embedding", "pool", "pool_depth",
    "bottlenecks", "fusion_layer", "class_tokens", "cls_is_query"
)  # fmt: skip
# What the teacher of a two-stage run takes over from its student's flags; its architecture stays its own.
_SHARED_WITH_TEACHER = (
    "store", "modalities", "protocol", "group", "fold", "k", "epochs", "batch_size", "accumulate", "train_missing",
    "train_modalities", "seed", "device", "resident", "holdout", "pick_by", "eval_split", "tensorboard", "precision"
)  # fmt: skip

Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
# YAML reads a group named 3 as a number.
Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


@dataclass(config=ConfigDict(extra="forbid"))
class FuseConfig:
    """Options of one run. Times are in epochs, lengths in tokens."""

    strategy: str
    store: Path | None = None  # None = the newest under cache/
    out: Path | None = None  # None = runs/<store>/<strategy>-<identity>
    modalities: list[str] | None = None  # None = all in the store
    protocol: str | None = None  # another published division of the segments; None = the store's own
    k: Count = 300  # k-Average cap
    # the network
    fusion: str = "transformer"
    fill: str = "zeros"
    head: str = "shared"
    width: Count = 384
    depth: Count = 1
    heads: Count = 8
    ffn_ratio: Annotated[float, Field(gt=0)] = 4.0
    dropout: Share = 0.0
    attention_dropout: Share = 0.0
    token_dropout: Share = 0.0  # of the per_modality head's mean
    head_norm: bool = False  # LayerNorm before the linear and gap heads
    head_dropout: Share = 0.0  # and dropout
    average: str = "logits"  # of a segment's vectors; or their probabilities
    average_missing: bool = True  # a missing modality's vector counts too, where its fill gives it tokens
    positions: bool = False  # learned, one a token place
    modality_embedding: bool = True
    pool: str = "none"  # one vector a modality before the fill: its mean, or the CLS of a transformer of its own
    pool_depth: Count = 2
    bottlenecks: Count = 4  # MBT's shared tokens
    fusion_layer: Whole | None = None  # MBT's first layer that reads them; None = the last but one
    class_tokens: bool = False  # MBT: the head reads one class token a modality
    cls_is_query: bool = False  # the transformer's CLS reads tokens and is read by none (MacJEPA)
    # the fills
    replace_shares: list[Rate] = dataclasses.field(default_factory=list)  # MMT's code: of a kept modality's tokens too
    freeze_tokens: bool = False  # MMT's missing-modality tokens stay as they were drawn, or as in start
    s_mode: str = "always"  # KARMMA's s tokens: always, or only where missing
    fill_depth: Count = 2  # ActionMAE: layers of encoder and of decoder
    fill_dropout: Share = 0.1  # of the proxy layers
    memory: Whole = 1  # ActionMAE's memory tokens; 0 = its table 7a
    block_norm: str = "pre"  # LayerNorm in the layers of ActionMAE and of the pool: before them, or after: post (code)
    rec_slots: str = "missing"  # the decoder stands for what is missing, or (ActionMAE's code) for all
    rec_complete: str = "originals"  # a complete segment is fed as it is, or as the encoder's places (code)
    rec_positions: bool = True  # false in the code
    rec_order: str = "restored"  # at test, slots in their places, or packed, kept ones first (code)
    rec_target: str = "raw"  # or standardised, and not detached (code)
    rec_end: str = "none"  # after the decoder: nothing, or LayerNorm and a linear (code)
    prompt_length: Whole = 16  # MAP's L_p
    prompt_layers: Count = 6  # the first layers that have prompts, at most `depth`
    prompt_kind: str = "input"  # or attention
    proxy_encoder: str = "pair"  # a proxy layer for each pair (COMPASS), or for each source (CMPT)
    auxiliary: str = "kept"  # ShaSpec's losses look at what is kept, or also at zeros for the rest: all (code)
    stand_in: str = "mean"  # ShaSpec: the mean of the shared parts there are, or the first of them (code)
    # the keep masks in training
    law: str = "none"
    drop: Share = 0.0  # p
    target: str | None = None  # the one modality that may be missing; see laws.py
    train_on: str = "all"  # or only the segments that are complete by nature
    train_missing: dict[str, Rate] = dataclasses.field(default_factory=dict)  # modality -> share that lacks it for good
    full_share: Share = 0.0  # the first epochs, which keep everything (ShaSpec's warm-up)
    train_modalities: list[str] | None = None  # labels are learned from these alone (zero-shot); None = all
    # the losses; a weight of 0 leaves one out, a share is one of the run's epochs
    label_smoothing: Share = 0.0
    class_weights: str = "none"  # of CE, by how seldom a class is in training: inverse, or its root
    alpha: Annotated[float, Field(ge=0, le=1)] = 1.0  # weight of CE; 1 - alpha is the teacher's
    reconstruction: Weight = 0.0  # of what reconstruct and proxy fills predict
    align: Weight = 0.0  # InfoNCE between modalities (MMG-Ego4D)
    align_temperature: Positive = 0.07
    align_share: Share = 0.0  # the first epochs, which learn by align alone, from unlabelled segments too
    anchor: str | None = None  # the modality that the others are aligned to; None = rgb, else the first
    prototypes: Weight = 0.0  # few-shot meta-training by episodes, in the last epochs
    meta_share: Share = 0.0  # which these are
    few_shot_task: str | None = None  # whose classes the episodes tell apart; None = the first task
    ways: Annotated[int, Field(ge=2)] = 5
    shots: Count = 5
    queries: Count = 5  # a class and episode
    vicreg: Weight = 0.0
    vicreg_terms: tuple[Weight, Weight, Weight] = (25.0, 25.0, 1.0)  # invariance, variance, covariance
    shared: Weight = 0.0  # ShaSpec: shared parts alike
    specific: Weight = 0.0  # ShaSpec: specific parts tell their modality
    mad: Weight = 0.0  # MMANet: the teacher's relations between segments
    mad_by: str = "rows"  # weighted by i, or by j: columns (code)
    mar: Weight = 0.0  # MMANet: weak combinations of modalities
    mar_softmax: bool = False  # of histograms that are shares already (code)
    margin_share: Share = 0.05  # the first epochs, which have neither mad nor mar
    jepa: Weight = 0.0  # MacJEPA: predict a slow copy's view of everything
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.996  # of the slow copy
    # the teachers
    teacher: Path | list[Path] | None = None  # a run, or several; None = train the strategy's own
    teacher_mask: str = "same"  # the teacher sees the student's mask, or everything: full
    teacher_modalities: list[str] | None = None  # of the teachers trained first; None = the run's own
    temperature: Positive = 1.0
    kd_tasks: str = "sum"  # or mean
    ensemble: str = "uniform"  # weights of several teachers: uniform, or by their loss on a dataset or a sample
    ensemble_temperature: Positive = 1.0
    calibrate: bool = False  # each teacher's logits to the temperature at which it is right as often as it is sure
    # where the network starts
    start: Path | None = None  # a run whose weights it starts from; None = train the strategy's own, if it has one
    freeze: bool = False  # of these weights; fill and head are then all that is trained
    # at test
    test_time: str = "none"  # or a step that adapts: midl, tent, shot, eta
    adapt_mode: str = "stream"  # adapt while predicting; or two_phase: incomplete segments after all steps (code)
    adapt_lr: Weight = 2.5e-4
    adapt_first: bool = False  # to the training segments, without labels, before the test (MiDl-LTA)
    midl_information: Weight = 3.0  # weight of the mutual information between modality and prediction
    midl_distance: Weight = 3.0  # weight of the KL to the model before adaptation
    midl_eps: Share = 0.0  # added within its logarithms: 1e-5 (code)
    # the optimiser
    epochs: Count = 100
    batch_size: Count = 32
    accumulate: Count = 1  # batches a step of the optimiser
    balance: str | None = None  # a task whose classes are to come equally often in training
    lr: Annotated[float, Field(gt=0, le=1e4)] = 1e-4
    lr_end: Annotated[float, Field(ge=0)] = 1e-6  # where warm-up starts and the cosine ends
    warmup: Share = 0.1  # share of the run in which the learning rate rises; KARMMA: 10 of 100 epochs
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    clip: Annotated[float, Field(ge=0)] = 1.0  # gradient norm; 0 = no clipping
    # the run
    seed: Annotated[int, Field(ge=0)] = 0
    # Share of train that picks the epoch; 0 = the last epoch is kept; None = the validation split picks, else 0.1.
    holdout: Share | None = None
    pick_by: str = "mean"  # the accuracy that picks it: the mean over all subsets, or that of the full one
    group: str | None = None  # column of the segments whose values stay together in the held-out part; None = video
    fold: Text | None = None  # the value of `group` that is tested; all other segments are train
    patience: Whole = 0  # epochs without a better one, after which training ends early; 0 = never
    eval_split: str | None = None  # None = the store's
    tensorboard: bool = False  # write event files into the run folder too
    device: str = "auto"
    precision: str = "auto"  # of matrix products in training: bf16 or fp32; auto = bf16 on GPUs that have it
    resident: str = "auto"

    def identity(self, store_identity: str) -> str:
        """What makes this run this run: its options, short of places, and the tokens it trains on."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in _PLACES}
        text = json.dumps([values, store_identity], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def check(self, more: Iterable[str] = ()) -> None:
        """Raise ConfigError naming every mistake that can be seen without the store, and `more` that were found."""
        problems = Problems()
        self.add_unknown_names(problems)
        add_misfits(self, problems)
        for message in more:
            problems.add(message)
        problems.raise_if_any()

    def add_unknown_names(self, problems: Problems) -> None:
        """Add every option that names what there is not."""
        for what, name, allowed in (
            ("strategy", self.strategy, tuple(STRATEGIES)),
            ("fusion", self.fusion, FUSIONS),
            ("fill", self.fill, FILLS),
            ("head", self.head, HEADS),
            ("law", self.law, LAWS),
            ("resident", self.resident, RESIDENT),
            *((option, getattr(self, option), allowed) for option, allowed in CHOICES.items()),
        ):
            problems.check_name(what, name, allowed)

    @property
    def teacher_runs(self) -> list[Path]:
        """The runs given as teachers."""
        given = self.teacher
        return [] if given is None else given if isinstance(given, list) else [given]

    @property
    def has_teacher(self) -> bool:
        """Whether any part of the loss asks a teacher."""
        return self.alpha < 1 or self.mad > 0


def make_config(strategy: str, layers: Mapping[str, Mapping[str, Any]]) -> FuseConfig:
    """The resolved options of a strategy: defaults, its preset, then `layers`, later ones winning.

    Raises:
        ConfigError: names, values or combinations are wrong, all of them at once.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(unknown_name("strategy", strategy, STRATEGIES))
    preset = {"strategy": strategy, **STRATEGIES[strategy].options}
    config = resolve(FuseConfig, {f"strategy {strategy}": preset, **layers, "--strategy": {"strategy": strategy}})
    problems = [*settle_law(config, layers), *_settle_fold(config)]
    config.check(problems)
    return config


def _settle_fold(config: FuseConfig) -> list[str]:
    """Set the protocol of a leave-one-group-out fold; what does not go together."""
    if config.fold is None:
        return []
    if config.group is None:
        return [f"--fold {config.fold} needs --group COLUMN: whose value it is, as --group person"]
    division = f"{config.group}={config.fold}"
    if config.protocol not in (None, division):
        return [f"--fold divides the segments itself: leave out --protocol {config.protocol}"]
    config.protocol = division
    return []


def teacher_configs(
    student: FuseConfig, layers: Mapping[str, Mapping[str, Any]], modalities: list[str]
) -> list[FuseConfig]:
    """The options of the teachers that a two-stage strategy trains first: one, or one a modality.

    Settings files speak for teacher and student alike; of the flags, the teacher takes what concerns data and
    schedule, not what shapes the student's network.

    Args:
        modalities: of the teachers of a strategy that has one a modality.
    """
    strategy = STRATEGIES[student.strategy]
    assert strategy.teacher is not None
    shared = _shared(layers)
    if strategy.teacher_each:
        reads = [[name] for name in modalities]
    elif student.teacher_modalities is not None:
        reads = [student.teacher_modalities]
    else:
        return [make_config(strategy.teacher, shared)]
    # A teacher whose modalities are named learns labels from all of these.
    own = [{"modalities": names, "train_modalities": None} for names in reads]
    return [make_config(strategy.teacher, {**shared, "what the teacher reads": layer}) for layer in own]


def start_config(config: FuseConfig, layers: Mapping[str, Mapping[str, Any]]) -> FuseConfig:
    """The options of the run whose weights a run starts from: its strategy's, with the network of `config`."""
    name = STRATEGIES[config.strategy].start
    assert name is not None
    network = {option: getattr(config, option) for option in _NETWORK}
    return make_config(name, {**_shared(layers), f"the network of {config.strategy}": network})


def _shared(layers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    def takes(where: str, option: str) -> bool:
        return option != "teacher_modalities" and (where != "flags" or option in _SHARED_WITH_TEACHER)

    return {
        where: {option: value for option, value in layer.items() if takes(where, option)}
        for where, layer in layers.items()
    }
