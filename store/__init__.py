"""The cache: a standard Zarr v3 group of tokens, segments and presence. Knows no encoder and no strategy."""

from typing import TYPE_CHECKING

from mmcache.store.ground.errors import ConfigError, FingerprintError, MmcacheError, StoreError
from mmcache.store.ground.lazy import lazy_attributes

if TYPE_CHECKING:
    from mmcache.store.feature_store import FeatureStore
    from mmcache.store.format.kaverage import k_average
    from mmcache.store.format.layout import Presence, StoreMeta

__all__ = [
    "ConfigError",
    "FeatureStore",
    "FingerprintError",
    "MmcacheError",
    "Presence",
    "StoreError",
    "StoreMeta",
    "k_average",
]
__getattr__ = lazy_attributes(
    __name__,
    {
        "FeatureStore": "mmcache.store.feature_store",
        "Presence": "mmcache.store.format.layout",
        "StoreMeta": "mmcache.store.format.layout",
        "k_average": "mmcache.store.format.kaverage",
    },
)
