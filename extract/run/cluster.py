"""Assign workers to the nodes of a cluster: one for each GPU, or spread over the CPUs."""

import dataclasses
from typing import Any

from mmcache.store.ground.errors import ConfigError, MmcacheError


@dataclasses.dataclass(frozen=True)
class Place:
    """The node, CPUs and GPUs that one worker gets.

    Attributes:
        node: Ray's id of the node.
        name: the node's host name.
        threads: CPUs for decoding and, where there is no GPU, for the network.
        gpus: its share of the node's GPUs, 0 where there are none.
    """

    node: str
    name: str
    threads: int
    gpus: float


def places(ray: Any, workers: int | None) -> list[Place]:
    """Places for `workers` workers, spread over the nodes; None = one for each GPU, or for each node without GPUs.

    Raises:
        ConfigError: there are fewer CPUs than workers.
        MmcacheError: no node offers a CPU.
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if not nodes:
        raise MmcacheError("no node of the cluster offers a CPU; `ray status` shows what it has")
    with_gpus = [node for node in nodes if node["Resources"].get("GPU", 0) >= 1]
    nodes = with_gpus or nodes
    cpus = [int(node["Resources"]["CPU"]) for node in nodes]
    gpus = [int(node["Resources"].get("GPU", 0)) for node in nodes]
    if workers is not None and workers > sum(cpus):
        where = "this machine has" if len(nodes) == 1 else f"its {len(nodes)} nodes have"
        raise ConfigError(f"--workers {workers}: {where} {sum(cpus)} CPUs for them. Use at most {sum(cpus)}.")
    shares = [max(1, count) for count in gpus] if workers is None else _spread(workers, cpus)
    return [
        Place(node["NodeID"], node["NodeManagerHostname"], max(1, cpu // share), gpu / share)
        for node, cpu, gpu, share in zip(nodes, cpus, gpus, shares, strict=True)
        for _ in range(share)
    ]


def _spread(workers: int, cpus: list[int]) -> list[int]:
    """How many workers each node gets: one after another in turn, while a node has CPUs left."""
    shares = [0] * len(cpus)
    while sum(shares) < workers:
        for i, cpu_count in enumerate(cpus):
            if shares[i] < cpu_count and sum(shares) < workers:
                shares[i] += 1
    return shares
