"""What a run's options ask for that its store does not have."""

from mmcache.fuse.data.reported_split import reported_split
from mmcache.fuse.options.options import Options
from mmcache.fuse.runs.config import read_run_config
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError, Problems


def modalities_of(options: Options, store: FeatureStore) -> list[str]:
    """The names of the token arrays that a run reads, as a person gives them: all of the store's by default."""
    return list(options.data.modalities or store.modalities)


def bare(name: str) -> str:
    """The modality of a name such as rgb, rgb=swin3d_t or rgb/swin3d_t."""
    return name.partition("/")[0].partition("=")[0]


def check_store(options: Options, store: FeatureStore) -> None:
    """Raise ConfigError naming everything that a run asks for and the store does not have."""
    problems, modalities = Problems(), modalities_of(options, store)
    for name in modalities:
        try:
            store.resolve(name)
        except ConfigError as error:
            problems.add(str(error))
    names = [bare(name) for name in modalities]
    if len(set(names)) < len(names):
        problems.add(f"--modalities {','.join(modalities)} names a modality twice; a run takes one encoder of each")
    if not modalities:
        problems.add(f"{store.path} has no tokens yet; `mmcache extract` fills it")
    if options.target is not None:
        problems.check_name("target modality", options.target, names)
    for name in options.data.train_modalities or ():
        problems.check_name("modality in train_modalities", name, names)
    _check_teachers(options, store, names, problems)
    options.components.strategy.check_modalities(options, names, list(store.tasks), problems)
    if "train" not in store.meta.splits:
        counts = ", ".join(f"{split} ({count} segments)" for split, count in store.meta.splits.items())
        problems.add(
            f"{store.path} has no split 'train' to learn from; its splits are {counts or 'none'}. Call the segments to "
            "learn from 'train' in the table or file that the store was made of, and make the store anew"
        )
    try:
        reported_split(options.data.eval_split, store)
    except ConfigError as error:
        problems.add(str(error))
    problems.raise_if_any()


def _check_teachers(options: Options, store: FeatureStore, names: list[str], problems: Problems) -> None:
    """Add what is wrong with the modalities of teachers: unknown ones, or none that a teacher would ever see."""
    if options.teacher is None:
        return
    asked = options.teacher.teacher_modalities or []
    for name in asked:
        try:
            store.resolve(name)
        except ConfigError as error:
            problems.add(f"teacher_modalities: {error}")
    if getattr(options.own, "teacher_mask", "full") == "full" or not options.asks_teacher:
        return
    read = [bare(name) for name in asked]
    for run in options.teacher_runs:
        read += read_run_config(run)["model"]["modalities"]
    if read and not set(read) & set(names):
        problems.add(
            f"the teacher reads {', '.join(dict.fromkeys(read))}, of which this run has none, and teacher_mask same "
            "shows it what the run sees alone: it would never have logits. Give --set teacher_mask=full"
        )
