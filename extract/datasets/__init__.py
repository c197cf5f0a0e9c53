"""The data sets. To add one, write one file beside this one and add its line here."""

from mmcache.extract.datasets.base import Dataset, Option, Source
from mmcache.extract.datasets.epic import EpicKitchens
from mmcache.extract.datasets.epic_sounds import EpicSounds
from mmcache.extract.datasets.manifest import Manifest
from mmcache.extract.datasets.oracle import OracleDataset
from mmcache.extract.datasets.ssv2 import SomethingSomethingV2

# name -> (class, what it is). Each is opened with (root, annotations folder or None, **options).
DATASETS: dict[str, tuple[type[Dataset], str]] = {
    "manifest": (Manifest, "your own clips: a CSV or Parquet table with a path column a modality"),
    "epic": (EpicKitchens, "EPIC-KITCHENS-100 action recognition: verb and noun; rgb, flow, audio, imu"),
    "epic-sounds": (EpicSounds, "EPIC-SOUNDS recognition: 44 sounds; the media of EPIC-KITCHENS-100"),
    "oracle": (OracleDataset, "made up: the best possible accuracy is known for every modality subset; needs no files"),
    "ssv2": (SomethingSomethingV2, "Something-Something V2: 174 actions; rgb"),
}

__all__ = ["DATASETS", "Dataset", "Option", "Source"]
