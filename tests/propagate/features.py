"""Features that are hard for an exact search: (frame, y, x, channel); the last frame is the query."""

from collections.abc import Sequence

import torch

Parts = list[torch.Tensor]


def random_parts(grid: tuple[int, int], frames: int, channels: Sequence[int], seed: int, smooth: bool = False) -> Parts:
    """Noise, or smooth features, whose neighbours and successive frames are similar, like real features."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for count in channels:
        part = torch.randn(frames, count, *grid, generator=generator)
        if smooth:
            coarse = torch.randn(1, count, 3, *[max(2, side // 5) for side in grid], generator=generator)
            part = torch.nn.functional.interpolate(coarse, size=(frames, *grid), mode="trilinear")[0].movedim(1, 0)
            part = part + 0.05 * torch.randn(part.shape, generator=generator)
        parts.append(part.movedim(1, -1).contiguous())
    return parts


def adversarial(kind: str, grid: tuple[int, int], frames: int, channels: Sequence[int], seed: int) -> Parts:
    """Features whose ranking depends on rounding, or with many ties."""
    generator = torch.Generator().manual_seed(seed)
    parts = random_parts(grid, frames, channels, seed, smooth=True)
    if kind == "noise":
        return random_parts(grid, frames, channels, seed)
    if kind == "smooth":
        return parts
    if kind == "duplicates":  # pairs of equal frames
        return [part[torch.arange(frames) // 2 * 2].contiguous() for part in parts]
    if kind == "constant":
        return [torch.ones_like(part) * torch.randn(part.shape[-1], generator=generator) for part in parts]
    if kind == "parallel":  # all within about 1e-3 of one direction: cosines differ in the sixth decimal
        return [10 * torch.ones_like(part) + 0.01 * torch.randn(part.shape, generator=generator) for part in parts]
    if kind == "outliers":  # a few channels carry most of the length, as in real UNets
        for part in parts:
            part[..., :2] = part[..., :2] * 3 + 40
        return parts
    if kind == "patches":  # a constant background with objects on it
        for part in parts:
            part[:, :, : grid[1] // 2] = part[0, 0, 0]
        return parts
    raise ValueError(kind)
