"""mmcache: cache the tokens of frozen encoders once, then train fusion models that survive missing sensors.

The four parts are mmcache.store, mmcache.extract, mmcache.fuse and mmcache.cli. This package has their version alone,
which is looked up on first use, so that importing a part does not wait for it.
"""


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib.metadata

    return importlib.metadata.version(__name__)
