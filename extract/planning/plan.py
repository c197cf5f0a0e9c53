"""Plan an extract: which segments, from which files, and how many bytes.

Nothing here decodes, loads a network or writes.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmcache.common.plugin_faults import PluginError, plugin_faults
from mmcache.common.plugins import PluginRecord, difference, read_record
from mmcache.extract.datasets import Dataset, find_dataset
from mmcache.extract.datasets.base.plugin import check_dataset
from mmcache.extract.encoders import encoder_info
from mmcache.extract.encoders.base.encoder import PLUGIN, EncoderInfo
from mmcache.extract.media import can_read
from mmcache.extract.media.base.source import Source, is_there
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.media_stamps import MediaStamp, stamp_of
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import Presence, StoreMeta, token_bytes
from mmcache.store.format.source_files import read_sources
from mmcache.store.format.token_set import read_token_set
from mmcache.store.ground.errors import ConfigError, FingerprintError, Problems, StoreMismatchError
from mmcache.store.segments.splits import matching_splits
from mmcache.store.write.create import check_same_segments, has_tokens


@dataclasses.dataclass(frozen=True)
class ModalityPlan:
    """One modality's part of an extract.

    Attributes:
        sources: video -> its media; videos without any are not in it.
        absent: videos whose media a table names, but that do not exist -> the reason; their segments will fail.
        status: (N,) Presence values before the run.
        on_disk: (N,) whether media are on disk or named by a table.
        to_do: (n,) rows that this run encodes or marks as missing.
        changed: (n,) selected rows whose media files have changed in size or time since they were processed; with
            --refresh they are among to_do.
        gone: (n,) selected rows that are cached, and whose media no longer exist.
    """

    modality: str
    encoder: str  # as asked for; info.name is what the store calls it
    info: EncoderInfo
    tokens: int  # T as stored, after k-Average
    row_bytes: int  # of a segment with all its views
    sources: dict[str, Source]
    absent: dict[str, str]
    status: NDArray[np.uint8]
    on_disk: NDArray[np.bool_]
    to_do: NDArray[np.int64]
    changed: NDArray[np.int64]
    gone: NDArray[np.int64]

    @property
    def encoder_sha256(self) -> str:
        """What the source of a plugin must hash to wherever it is loaded; "" for an encoder of mmcache."""
        return self.info.plugin.sha256 if self.info.plugin is not None else ""

    @property
    def to_encode(self) -> NDArray[np.int64]:
        return self.to_do[self.on_disk[self.to_do]]

    @property
    def bytes_to_write(self) -> int:
        return len(self.to_encode) * self.row_bytes


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plan of a whole extract.

    Attributes:
        selected: rows of the chosen splits, limited.
        replaces: whether `root` has a store of other segments without any tokens, which will be replaced.
    """

    config: ExtractConfig
    root: Path  # of the store
    dataset: Dataset
    meta: StoreMeta
    selected: NDArray[np.int64]
    modalities: list[ModalityPlan]
    replaces: bool = False

    @property
    def segments(self) -> pd.DataFrame:
        return self.dataset.segments

    @property
    def nothing_to_do(self) -> bool:
        return not any(len(part.to_do) for part in self.modalities)


def make_plan(config: ExtractConfig, recommended: dict[str, object] | None = None) -> Plan:
    """Compare annotations, media and store, and decide what to do.

    Args:
        recommended: settings for `fuse` that the store will keep.

    Raises:
        ConfigError: options are wrong, or data are missing.
        StoreError: the store was made from other annotations.
    """
    config.check()
    dataset, plugin = _open_dataset(config)
    _check_rows(config, dataset)
    root = config.store_path().absolute()
    splits = {str(split): int(n) for split, n in sorted(dataset.segments["split"].value_counts().items())}
    meta = StoreMeta(
        dataset.name,
        dataset.tasks,
        splits,
        dataset.eval_split,
        recommended=dict(recommended or {}),
        dataset_plugin={} if plugin is None else plugin.recorded(),
    )
    replaces = root.exists() and _is_to_be_replaced(root, dataset.segments, meta)
    sources = _find_sources(config, dataset)
    selected = _select(config, dataset.segments, splits)
    store = FeatureStore.open(root) if root.exists() and not replaces else None
    parts = [_plan_modality(config, store, dataset, modality, found, selected) for modality, found in sources.items()]
    return Plan(config, root, dataset, meta, selected, parts, replaces)


def _open_dataset(config: ExtractConfig) -> tuple[Dataset, PluginRecord | None]:
    found, plugin = find_dataset(config.dataset)
    with plugin_faults():
        dataset = found(config.data_root(), config.annotations, **config.settings())
    if plugin is not None:
        check_dataset(dataset)
    return dataset, plugin


def _is_to_be_replaced(root: Path, segments: pd.DataFrame, meta: StoreMeta) -> bool:
    """Whether the store has other segments and no tokens. Raises StoreError if it has other segments and tokens."""
    try:
        check_same_segments(root, segments, meta)
    except StoreMismatchError:
        if has_tokens(root):
            raise
        return True
    return False


def _find_sources(config: ExtractConfig, dataset: Dataset) -> dict[str, dict[str, Source]]:
    """Modality -> video -> media. Without --modalities, those with nothing on disk are left out."""
    videos = dataset.segments["video"].unique()
    sources: dict[str, dict[str, Source]] = {}
    for modality in config.modalities or dataset.modalities:
        located = [(video, dataset.source(modality, video)) for video in videos]
        if not all(isinstance(source, Source | None) for _, source in located):
            raise PluginError(f"data set plugin {dataset.name}: its source() must give a Source, or None")
        found = {video: source.absolute() for video, source in located if source is not None}
        if found or config.modalities:
            sources[modality] = found
    empty = [modality for modality, found in sources.items() if not found]
    if not sources or empty:
        what = ", ".join(empty) if empty else "any modality"
        raise ConfigError(
            f"no media of {what} found for {len(videos)} videos of {dataset.name}. {dataset.expected_layout()}"
        )
    _refuse_absent(sources, dataset)
    return sources


def _refuse_absent(sources: dict[str, dict[str, Source]], dataset: Dataset) -> None:
    """Raise ConfigError when a table names files of a modality, and none of them exists."""
    modalities_of: dict[tuple[str, int], list[str]] = {}  # audio is read from video files too
    for modality, found in sources.items():
        reasons = (source.absent() for source in found.values())
        first = next(reasons)
        if first is not None and all(reason is not None for reason in reasons):
            folders = next(iter(found.values())).paths[0].parents
            nearest = next((folder for folder in folders if is_there(folder)), folders[0])
            reason = f"{first} (the last existing folder on that path: {nearest})"
            modalities_of.setdefault((reason, len(found)), []).append(modality)
    problems = Problems()
    for (reason, count), modalities in modalities_of.items():
        problems.add(
            f"none of the {count} files named for {' and '.join(modalities)} exists: {reason}. "
            f"{dataset.expected_layout()} --modalities leaves a modality out"
        )
    problems.raise_if_any()


def _check_rows(config: ExtractConfig, dataset: Dataset) -> None:
    """Raise ConfigError when there is no segment, or too many rows of a user's table could not be used."""
    rows = len(dataset.segments) + dataset.lost_rows
    if dataset.lost_rows > config.max_failures * rows:
        raise ConfigError(
            f"{dataset.lost_rows} of {rows} rows cannot be used, more than --max-failures allows "
            f"({config.max_failures:.1%}); nothing was started:\n" + "\n".join(dataset.problems[:10])
        )
    if not len(dataset.segments):
        raise ConfigError(f"{dataset.name} has no segment: {'; '.join(dataset.problems[:3]) or 'its files are empty'}")


def _select(config: ExtractConfig, segments: pd.DataFrame, splits: dict[str, int]) -> NDArray[np.int64]:
    """Rows of the chosen splits, the first `limit` of each."""
    problems = Problems()
    chosen = matching_splits(config.splits, splits, problems) if config.splits else list(splits)
    problems.raise_if_any()
    rows = [np.flatnonzero(segments["split"] == split)[: config.limit] for split in chosen]
    return np.sort(np.concatenate(rows))


def _plan_modality(
    config: ExtractConfig,
    store: FeatureStore | None,
    dataset: Dataset,
    modality: str,
    sources: dict[str, Source],
    selected: NDArray[np.int64],
) -> ModalityPlan:
    encoder = config.encoder_of(modality)
    info = encoder_info(encoder)
    kinds = {source.kind for source in sources.values()}
    if not all(can_read(kind, info.request) for kind in kinds):
        wanted = type(info.request).__name__
        raise ConfigError(
            f"encoder {encoder} asks for a {wanted}, which the media of {modality} ({', '.join(sorted(kinds))}) cannot "
            f"give: name another with --encoder {modality}=NAME"
        )
    tokens = min(info.tokens, config.k or info.tokens)
    segments = dataset.segments
    on_disk = segments["video"].isin(list(sources)).to_numpy(bool)
    status = np.full(len(segments), Presence.TO_DO, np.uint8)
    known_missing: set[str] = set()
    changed, gone = np.zeros(len(segments), bool), np.zeros(len(segments), bool)
    if store is not None and (modality, info.name) in store.arrays:
        _refuse_other_plugin(store, modality, info)
        status = store.present[f"{modality}/{info.name}"]
        known_missing = {n["id"] for n in store.notes if (n["modality"], n["encoder"]) == (modality, info.name)}
        changed, gone = _compare(store, modality, info.name, segments, sources)
        gone &= status == Presence.CACHED
    # Media that were added since the last run are encoded too, unless they are known to be empty.
    arrived = (status == Presence.MISSING) & on_disk & ~segments["id"].isin(known_missing).to_numpy(bool)
    wanted = (status == Presence.TO_DO) | arrived
    if config.retry_failed:
        wanted |= (status == Presence.FAILED) | ((status == Presence.MISSING) & on_disk)
    if config.refresh:
        wanted |= changed
    return ModalityPlan(
        modality=modality,
        encoder=encoder,
        info=info,
        tokens=tokens,
        row_bytes=config.views * token_bytes(tokens, info.width, config.dtype),
        sources=sources,
        absent={video: why for video, source in sources.items() if (why := source.absent()) is not None},
        status=status,
        on_disk=on_disk,
        to_do=selected[wanted[selected]],
        changed=selected[changed[selected]],
        gone=selected[gone[selected]],
    )


def _refuse_other_plugin(store: FeatureStore, modality: str, info: EncoderInfo) -> None:
    """Raise FingerprintError where tokens of this name were made by another plugin, or by other source of this one."""
    attributes = read_token_set(Path(store.path), modality, info.name)["tokens"].attributes
    saved = read_record(Fingerprint.from_attributes(attributes).preprocessing.get(PLUGIN))
    ours = info.plugin.recorded() if info.plugin is not None else None
    if saved != ours:
        raise FingerprintError(
            f"{store.path} has {modality} tokens of the encoder '{info.name}': {difference(saved, ours)}. A changed "
            "source is another encoder: restore the file as it was, give the new one another name in its info, so that "
            "its tokens lie beside the old ones, or write to another store with --store PATH."
        )


def _compare(
    store: FeatureStore, modality: str, encoder: str, segments: pd.DataFrame, sources: dict[str, Source]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(changed, gone): rows whose media differ from those the store recorded, and rows whose media no longer exist."""
    changed, gone = np.zeros(len(segments), bool), np.zeros(len(segments), bool)
    recorded = read_sources(store.path).get((modality, encoder), {})
    if not recorded:
        return changed, gone
    now = {video: stamp_of(source) for video, source in sources.items()}
    for row, (segment, video) in enumerate(zip(segments["id"], segments["video"], strict=True)):
        if segment in recorded:
            found = now.get(video)
            gone[row] = found is None
            changed[row] = found is not None and not found.is_same(MediaStamp(*recorded[segment]))
    return changed, gone
