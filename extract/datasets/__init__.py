"""The data sets. To add one, write one file beside this one and add its line here."""

from mmcache.common.plugins import PluginRecord, installed_plugins, is_file_spec, load_plugin
from mmcache.extract.datasets.base.dataset import Dataset, Option
from mmcache.extract.datasets.base.plugin import DATASET_PLUGIN
from mmcache.extract.datasets.ego4d.ego4d_ar import Ego4dActionRecognition
from mmcache.extract.datasets.ego4d.mmg_ego4d import MmgEgo4d
from mmcache.extract.datasets.epic.epic_kitchens import EpicKitchens
from mmcache.extract.datasets.epic.epic_sounds import EpicSounds
from mmcache.extract.datasets.kinect.ntu import Ntu60, Ntu120
from mmcache.extract.datasets.kinect.nw_ucla import NwUcla
from mmcache.extract.datasets.kinect.uwa3d import Uwa3d
from mmcache.extract.datasets.manifest.manifest import Manifest
from mmcache.extract.datasets.oracle_dataset import OracleDataset
from mmcache.extract.datasets.ssv2.ssv2 import SomethingSomethingV2
from mmcache.extract.media.base.source import Source
from mmcache.store.ground.errors import ConfigError, unknown_name

# name -> (class, what it is). Each is opened with (root, annotations folder or None, **options).
DATASETS: dict[str, tuple[type[Dataset], str]] = {
    "manifest": (Manifest, "your own clips: a CSV or Parquet table with a path column a modality"),
    "epic": (EpicKitchens, "EPIC-KITCHENS-100 action recognition: verb and noun; rgb, flow, audio, imu, boxes"),
    "epic-sounds": (EpicSounds, "EPIC-SOUNDS recognition: 44 sounds; the media of EPIC-KITCHENS-100"),
    "ego4d-ar": (Ego4dActionRecognition, "Ego4D: verb and noun of what is touched, from STA records; rgb, audio, imu"),
    "mmg-ego4d": (MmgEgo4d, "MMG-Ego4D, few-shot, from your list of clips: base and novel classes; rgb, audio, imu"),
    "oracle": (OracleDataset, "made up: the best possible accuracy is known for every modality subset; needs no files"),
    "ssv2": (SomethingSomethingV2, "Something-Something V2, with Something-Else: 174 actions; rgb, flow, boxes"),
    "ntu60": (Ntu60, "NTU RGB+D: 60 actions; rgb, depth, ir, skeleton"),
    "ntu120": (Ntu120, "NTU RGB+D 120: 120 actions; rgb, depth, ir, skeleton"),
    "nw-ucla": (NwUcla, "Northwestern-UCLA Multiview Action 3D: 10 actions from 3 views; rgb, depth, skeleton"),
    "uwa3d": (Uwa3d, "UWA3D Multiview Activity II: 30 actions from 4 views; rgb, depth, skeleton"),
}


def is_plugin(name: str) -> bool:
    """Whether a name stands for a data set of a user's file or of an installed package; built-in names win."""
    return name not in DATASETS and (is_file_spec(name) or name in installed_plugins(DATASET_PLUGIN.group))


def find_dataset(name: str) -> tuple[type[Dataset], PluginRecord | None]:
    """The class of a data set, and the record of its source where it is a plugin.

    Raises:
        ConfigError: there is no such data set, its plugin cannot be loaded, or calls itself by a built-in name.
    """
    if name in DATASETS:
        return DATASETS[name][0], None
    if not is_plugin(name):
        named = unknown_name("data set", name, [*DATASETS, *installed_plugins(DATASET_PLUGIN.group)])
        raise ConfigError(f"{named} A data set of your own: path/to/file.py:NAME.")
    found, record = load_plugin(name, DATASET_PLUGIN)
    if found.name in DATASETS:
        raise ConfigError(f"{name} names itself '{found.name}', as a data set of mmcache does: rename it")
    return found, record


__all__ = ["DATASETS", "Dataset", "Option", "Source"]
