"""What a fusion costs: parameters, FLOPs, latency and peak memory, for every modality subset.

A segment's tokens are the input; the encoders are not in it. A handler that puts tokens where a modality is missing
costs as much as the modality; with the handler skip its tokens are left out, as if the missing modalities were known in
advance.
"""

import statistics
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmcache.fuse.data.subsets import subset_name, subsets
from mmcache.fuse.network.model import Model

_WARM_UP, _RUNS, _SECONDS = 2, 20, 1.0  # a subset is timed so often, or for so long


@torch.inference_mode()
def costs(model: Model) -> dict[str, Any]:
    """The cost of one segment, on the device where the model is.

    Returns:
        parameters; device; memory_by: who tracked the memory; subsets: name -> flops (a multiplication and an addition
        are two), latency_ms (median of single segments) and peak_memory_bytes (weights and tokens included).
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    names = model.spec.names
    present = torch.ones(1, len(names), dtype=torch.bool, device=device)
    out = {}
    for mask in subsets(len(names)):
        arguments = (tokens_fed(model, mask, device), present, torch.from_numpy(mask)[None].to(device))
        out[subset_name(mask, names)] = {
            "flops": _flops(model, arguments),
            "latency_ms": _latency_ms(model, arguments, device),
            "peak_memory_bytes": _peak_bytes(model, arguments, device),
        }
    model.train(was_training)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "memory_by": "torch.cuda" if device.type == "cuda" else "MemTracker of torch",
        "subsets": dict(sorted(out.items(), key=lambda pair: (-pair[0].count("+"), pair[0]))),
    }


def tokens_fed(model: Model, mask: NDArray[np.bool_], device: torch.device) -> dict[str, torch.Tensor]:
    """One segment of zeros, with tokens for the modalities in `mask`."""
    return {
        name: torch.zeros(1, n if kept or not model.skips_missing else 0, d, device=device)
        for (name, (_, n, d)), kept in zip(model.spec.modalities.items(), mask.tolist(), strict=True)
    }


def _flops(model: Model, arguments: tuple[Any, ...]) -> int:
    """Of matrix products, which is what the counter of torch counts."""
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):  # fused attention kernels of CPUs are not in its tables
        model(*arguments)
    return int(counter.get_total_flops())


def _latency_ms(model: Model, arguments: tuple[Any, ...], device: torch.device) -> float:
    times: list[float] = []
    for run in range(_WARM_UP + _RUNS):
        began = time.perf_counter()
        model(*arguments)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if run >= _WARM_UP:
            times.append(time.perf_counter() - began)
        if sum(times) > _SECONDS:
            break
    return round(1000 * statistics.median(times), 4)


def _peak_bytes(model: Model, arguments: tuple[Any, ...], device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        model(*arguments)
        return torch.cuda.max_memory_allocated(device)
    from torch.distributed._tools.mem_tracker import MemTracker  # it takes most of a second to load

    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    model.requires_grad_(True)  # the tracker hooks gradients, which frozen parameters have none of
    tracker = MemTracker()
    try:
        tracker.track_external(model, *arguments[0].values())
        with tracker:
            model(*arguments)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
    return int(tracker.get_tracker_snapshot("peak")[device]["Total"])
