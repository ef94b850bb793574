"""Where a fit runs: the CPU, a GPU in mixed precision, or several devices at once.

Lightning Fabric places the network, casts what may be cast, and averages the gradients of several
devices. Scales, quantiles and the loss stay in float32: a series may be as large as 1e36.
"""

import multiprocessing.util
import os
import warnings

import torch
from lightning_fabric import Fabric


class DeviceUnavailable(RuntimeError):
    """The devices that were asked for are not there."""


def open_devices(name: str, count: int) -> Fabric:
    """The devices "cpu" or "cuda", not yet started: `launch` a function on them.

    Raises:
        DeviceUnavailable: no such device, or not so many.
    """
    if name == "cuda":
        there = torch.cuda.device_count()
        if there < count:
            raise DeviceUnavailable(
                f"{count} CUDA devices were asked for, torch {torch.__version__} sees {there}; "
                "install torch with CUDA on a machine that has them, ask for fewer, or use "
                "--device cpu"
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library about itself
        return Fabric(
            accelerator=name,
            devices=count,
            strategy="ddp_spawn" if count > 1 else "auto",
            precision="bf16-mixed" if name == "cuda" else "32-true",
        )


def close_devices(fabric: Fabric) -> None:
    """To be called on each of several devices when its part is done; one device needs nothing.

    The processes then end without taking themselves apart: threads of their process group still
    hold tensors, and wait for Python's lock while its destructor, under that lock, waits for them.
    """
    if fabric.world_size > 1:
        fabric.barrier()
        multiprocessing.util.Finalize(None, os._exit, args=(0,), exitpriority=0)
