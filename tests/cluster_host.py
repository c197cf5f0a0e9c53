"""Three Ray nodes on this machine for as long as stdin is open: `python cluster_host.py`, token in RAY_AUTH_TOKEN.

Prints the address of the head. A line `kill` takes away the node that was added last, as a power cut would.
"""

import sys

from ray.cluster_utils import Cluster

STORE_BYTES = 80 << 20


def main() -> None:
    options = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    nodes = [cluster.add_node(**options) for _ in range(2)]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            print("killed", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
