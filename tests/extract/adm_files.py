"""Create and load small ADM checkpoints."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from ted.extract.backbones.adm import AdmBackbone, load
from ted.extract.backbones.adm_checkpoint import checkpoint_shapes
from ted.extract.backbones.adm_config import AdmConfig, build_unet

CPU = torch.device("cpu")


#: The smallest UNet of the family, for tests that do not need a deep one.
TINY = AdmConfig(
    image_size=16,
    num_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    attention_downsample_factors=(2,),
    num_head_channels=32,
)


def load_cpu(weights: Path, dtype: torch.dtype = torch.float32) -> AdmBackbone:
    return load(weights, device=CPU, dtype=dtype)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.double() - expected.double()).norm() / expected.double().norm())


def random_tensors(config: AdmConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        shapes = checkpoint_shapes(config, build_unet(config).state_dict())
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) / 10 for name, shape in shapes.items()}


def write(folder: Path, tensors: Any, config: AdmConfig | dict[str, Any] = TINY) -> Path:
    folder.mkdir(exist_ok=True)
    values = config if isinstance(config, dict) else dataclasses.asdict(config)
    (folder / "config.json").write_text(json.dumps(values))
    torch.save(tensors, folder / "model.pt")
    return folder
