"""Which options exist only as words, and which do not fit together. All that is wrong is said at once."""

from typing import TYPE_CHECKING

from mmcache.fuse.strategies import STRATEGIES
from mmcache.store.ground.errors import Problems

if TYPE_CHECKING:
    from mmcache.fuse.config import FuseConfig

CHOICES: dict[str, tuple[str, ...]] = {
    "train_on": ("all", "complete"),
    "pick_by": ("mean", "full"),
    "precision": ("auto", "bf16", "fp32"),
    "class_weights": ("none", "inverse", "root"),
    "pool": ("none", "mean", "transformer"),
    "average": ("logits", "probabilities"),
    "s_mode": ("always", "missing"),
    "rec_slots": ("missing", "all"),
    "rec_complete": ("originals", "encoder"),
    "rec_order": ("restored", "packed"),
    "rec_target": ("raw", "standardised"),
    "rec_end": ("none", "linear"),
    "block_norm": ("pre", "post"),
    "prompt_kind": ("input", "attention"),
    "proxy_encoder": ("pair", "source"),
    "auxiliary": ("kept", "all"),
    "stand_in": ("mean", "first"),
    "mad_by": ("rows", "columns"),
    "teacher_mask": ("same", "full"),
    "kd_tasks": ("sum", "mean"),
    "ensemble": ("uniform", "dataset", "sample"),
    "test_time": ("none", "midl", "tent", "shot", "eta"),
    "adapt_mode": ("stream", "two_phase"),
}
_POOLED = ("sum", "concat", "mlp")  # fusions that keep no tokens


def add_misfits(config: "FuseConfig", problems: Problems) -> None:
    """Add every combination of options that cannot work, with the reason."""
    add_network_misfits(config, problems)
    _check_losses(config, problems)
    _check_stages(config, problems)


def add_network_misfits(config: "FuseConfig", problems: Problems) -> None:
    """Add what no network can be built of."""
    if config.width % config.heads:
        problems.add(f"--width {config.width} is not a multiple of --heads {config.heads}")
    if config.head in ("per_modality", "gap") and config.fusion in _POOLED:
        problems.add(f"the head {config.head} reads tokens, and the fusion {config.fusion} keeps none: use head linear")
    if config.fill != "token":
        for option, given in (("replace_shares", config.replace_shares), ("freeze_tokens", config.freeze_tokens)):
            if given:
                problems.add(f"{option} is of the fill token; got {config.fill}")
    elif config.replace_shares and config.target is not None:
        problems.add("replace_shares replaces tokens of every modality: leave out --target")
    if config.fusion != "transformer":
        if config.fill == "prompt":
            problems.add(
                f"the fill prompt needs the fusion transformer, whose layers take prompts; got {config.fusion}"
            )
        if config.cls_is_query:
            problems.add(f"cls_is_query needs the fusion transformer; {config.fusion} has no CLS")
    if config.fusion != "mbt":
        for option, given in (("class_tokens", config.class_tokens), ("fusion_layer", config.fusion_layer is not None)):
            if given:
                problems.add(f"{option} is of the fusion mbt; got {config.fusion}")
    elif config.fusion_layer is None and config.depth < 2:
        problems.add(
            "the fusion mbt at depth 1 has its modalities write to the bottlenecks and never read them: give --depth 2 "
            "or more"
        )
    elif config.fusion_layer is not None and config.fusion_layer > config.depth:
        problems.add(f"fusion_layer {config.fusion_layer} is past --depth {config.depth}; at most {config.depth}")
    if config.fill == "prompt" and config.prompt_kind == "attention" and config.prompt_length % 2:
        problems.add(f"prompt_length {config.prompt_length} is odd; attention prompts are halves for keys and values")
    if config.rec_order == "packed" and config.rec_slots != "all":
        problems.add("rec_order packed needs rec_slots all: kept modalities that are fed as they are have no order")


def _check_losses(config: "FuseConfig", problems: Problems) -> None:
    if config.reconstruction > 0 and config.fill not in ("reconstruct", "proxy"):
        problems.add(f"the loss reconstruction needs the fill reconstruct or proxy; got {config.fill}")
    for loss in ("shared", "specific"):
        if getattr(config, loss) > 0 and config.fill != "shaspec":
            problems.add(f"the loss {loss} needs the fill shaspec; got {config.fill}")
    if config.jepa > 0 and config.fusion != "transformer":
        problems.add(f"the loss jepa needs the fusion transformer, with its CLS and tokens; got {config.fusion}")
    if config.train_modalities == []:
        problems.add("train_modalities names none, and labels must be learned from some: leave it out for all")
    if config.align_share > 0 and config.align == 0:
        problems.add("align_share needs the loss align: give it a weight")
    if config.align_share > 0 and config.epochs < 2:
        problems.add("align_share needs an epoch to align in and one to learn labels in: --epochs 2 or more")
    if (config.meta_share > 0) != (config.prototypes > 0):
        problems.add("the loss prototypes and meta_share need each other: give both, or neither")
    if config.align_share + config.meta_share >= 1:
        problems.add("align_share and meta_share leave no epoch to learn the labels in: together below 1")
    if config.law == "target_only" and config.target is None:
        problems.add("the law target_only needs --target M")


def _check_stages(config: "FuseConfig", problems: Problems) -> None:
    strategy = STRATEGIES.get(config.strategy)
    if strategy is None:
        return
    if config.has_teacher and not config.teacher_runs and strategy.teacher is None:
        asks = f"alpha {config.alpha:g} asks for distillation" if config.alpha < 1 else "the loss mad asks a teacher"
        problems.add(f"{asks}, but {config.strategy} has no teacher: give --teacher RUN")
    if config.mad > 0 and (len(config.teacher_runs) > 1 or (not config.teacher_runs and strategy.teacher_each)):
        problems.add("the loss mad compares with one teacher's features, not with several: give one --teacher RUN")
    if config.freeze and config.start is None and strategy.start is None:
        problems.add(f"freeze needs weights to start from, and {config.strategy} trains none first: give start RUN")
    if config.teacher_modalities is not None:
        if not config.teacher_modalities:
            problems.add("teacher_modalities names none, and a teacher reads some: leave it out for the run's own")
        elif config.teacher_runs:
            problems.add("teacher_modalities is for a teacher that is trained first, and --teacher names a run that is")
        elif not config.has_teacher:
            problems.add(f"teacher_modalities: no loss of {config.strategy} asks a teacher; leave it out")
    if config.holdout == 0:
        needing = {
            "patience": config.patience > 0,
            "the loss mar": config.mar > 0,
            "calibrate": config.has_teacher and config.calibrate,
            "ensemble dataset": config.has_teacher and config.ensemble == "dataset",
        }
        for name in (name for name, asked in needing.items() if asked):
            problems.add(f"{name} needs segments that training does not learn from, and --holdout 0 leaves none")
    normed = (
        config.fusion in ("transformer", "mbt")
        or config.head in ("per_modality", "pooler")
        or config.head_norm
        or config.pool == "transformer"
        or config.fill in ("reconstruct", "proxy", "shaspec")
    )
    if config.adapt_first and config.train_missing:
        problems.add("adapt_first would show the model what train_missing takes from it: leave one of them out")
    if config.test_time != "none" and not normed:
        problems.add(
            f"{config.test_time} adapts LayerNorms, and fusion {config.fusion} with head {config.head} has none: "
            "add head_norm"
        )
