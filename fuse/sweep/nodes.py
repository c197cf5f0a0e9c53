"""Before a sweep starts on a cluster: does every node see the stores and the sweep's folder, and is mmcache there?"""

import secrets
from pathlib import Path
from typing import Any

from mmcache.store.ground.errors import ConfigError, MmcacheError, Problems

_ANSWER_S = 60.0


def unseen(probe: Path, token: str, stores: list[Path]) -> list[str]:
    """Which of these a machine does not see; run on each of them."""
    import mmcache.fuse  # noqa: F401  # the same program must be there

    found = probe.exists() and probe.read_text() == token
    missing = [] if found else [str(probe.parent)]
    return [*missing, *(str(path) for path in stores if not (path / "zarr.json").exists())]


def check_nodes(ray: Any, out: Path, stores: list[Path], cpus: float, gpus: float) -> int:
    """How many trials there is room for at once, all nodes together.

    Raises:
        ConfigError: a node does not see what it must, lacks mmcache, or none has room for a trial.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    room = {node["NodeID"]: _room(node["Resources"], cpus, gpus) for node in nodes}
    if not sum(room.values()):
        has = "; ".join(
            f"{node['NodeManagerHostname']}: {node['Resources'].get('CPU', 0):g} CPUs, "
            f"{node['Resources'].get('GPU', 0):g} GPUs"
            for node in nodes
        )
        raise ConfigError(f"no node has {cpus:g} CPUs and {gpus:g} GPUs for a trial ({has}): ask for less in resources")
    token = secrets.token_hex(16)
    probe = out / f".probe-{token[:8]}"
    probe.write_text(token)
    ask = ray.remote(num_cpus=0, max_retries=0)(unseen)
    try:
        asked = {
            ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                probe, token, stores
            ): node["NodeManagerHostname"]
            for node in nodes
            if room[node["NodeID"]]
        }
        problems = Problems()
        for reference, name in asked.items():
            _note(ray, reference, name, problems)
        problems.raise_if_any()
    finally:
        probe.unlink(missing_ok=True)
    return sum(room.values())


def _note(ray: Any, reference: Any, name: str, problems: Problems) -> None:
    try:
        missing = ray.get(reference, timeout=_ANSWER_S)
    except ray.exceptions.GetTimeoutError as error:
        raise MmcacheError(f"node {name} did not answer within {_ANSWER_S:.0f} s; see `ray status`") from error
    except (ray.exceptions.RayTaskError, ray.exceptions.RaySystemError) as error:
        if "ModuleNotFoundError" not in str(error):
            raise
        problems.add(f"node {name} lacks mmcache: install the same on every node of the cluster")
        return
    if missing:
        problems.add(
            f"node {name} does not see {', '.join(missing)}. On a cluster the stores and --out must lie on a disk that "
            "all nodes share, under the same path."
        )


def _room(resources: dict[str, float], cpus: float, gpus: float) -> int:
    """Trials that a node has room for; a trial's share of a GPU never spans two GPUs."""
    by_cpu = int(resources.get("CPU", 0) / cpus + 1e-9)
    if gpus == 0:
        return by_cpu
    there = resources.get("GPU", 0)
    by_gpu = int(there / gpus + 1e-9) if gpus >= 1 else int(there) * int(1 / gpus + 1e-9)
    return min(by_cpu, by_gpu)
