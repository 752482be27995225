"""Extraction on another device than the CPU: PyTorch's meta device replaces a GPU."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ted.extract.backbones import load_backbone
from tests.extract.conftest import features_of, load_clips, make_plan, random_frames
from tests.extract.small_folders import SmallFolders

META = torch.device("meta")


class OneDevice(TorchDispatchMode):
    """Raises an error for operations on tensors of several devices, like CUDA (meta kernels hardly check this)."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if "copy" not in str(func):
            # A number on the processor may meet a tensor elsewhere, but not the other way round.
            devices = {tensor.device for tensor in tensors if tensor.ndim or tensor.device == META}
            assert len(devices) <= 1, f"{func} of tensors on {devices}"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("name", "standins"),
    [
        *((name, False) for name in ("adm", "dinov2", "dinov3")),
        *((name, standins) for name in ("sd21", "svd", "i2vgen-xl") for standins in (False, True)),
    ],
)
def test_everything_follows_the_backbones_device_and_precision(
    name: str, standins: bool, small_folder: SmallFolders
) -> None:
    folder = small_folder(name, standins=standins)
    with OneDevice():
        backbone = load_backbone(name, folder, device=META, dtype=torch.float16)
        backbone.clip_length = min(2, backbone.clip_length)  # each frame costs hundreds of operations
        size = (4 * backbone.frame_multiple, 6 * backbone.frame_multiple) if name.startswith("dino") else (64, 96)
        source = random_frames(2 * backbone.clip_length)
        plan = make_plan(backbone, source, size)
        for clip in load_clips(backbone, source, plan, [0]).values():
            noisy = clip.noisy(plan.passes.timesteps[0], 0)
            assert (noisy.device, noisy.dtype) == (META, torch.float32)
            assert {(part.device, part.dtype) for part in clip.condition.values()} <= {(META, torch.float16)}
        # Batches that mix clips, timesteps and draws.
        timesteps = [0, 999] if backbone.takes_noise else [0]
        features = features_of(backbone, source, size, timesteps, list(backbone.taps), draws=2, batch_size=5)
    assert len(features) == len(timesteps) * len(backbone.taps)
    assert {(value.device, value.dtype) for value in features.values()} == {(META, torch.float32)}
