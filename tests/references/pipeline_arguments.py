"""What the library's own pipelines pass to their UNet."""

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image


class _RecordedError(Exception):
    pass


def recorded_arguments(pipeline: Any, **call: Any) -> dict[str, Any]:
    """Call a pipeline and return the arguments of its first call of the UNet, by parameter name, without Nones."""
    pipeline.set_progress_bar_config(disable=True)
    signature = inspect.signature(pipeline.unet.forward)
    recorded: dict[str, Any] = {}

    def record(*args: Any, **kwargs: Any) -> None:
        recorded.update(signature.bind(*args, **kwargs).arguments)
        raise _RecordedError

    pipeline.unet.forward = record
    try:
        pipeline(**call)
    except _RecordedError:
        return {name: value for name, value in recorded.items() if value is not None}
    finally:
        del pipeline.unet.forward
    raise AssertionError("the pipeline did not call its UNet")


def assert_same_arguments(
    ours: dict[str, Any], theirs: dict[str, Any], *, tolerances: Mapping[str, float] = MappingProxyType({})
) -> None:
    """Compare names, types, shapes and values, to rounding in float32 or to another absolute tolerance."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        actual = ours[name]
        if isinstance(expected, torch.Tensor):
            assert actual.dtype == expected.dtype, name
            atol = tolerances.get(name, 1e-5)
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=atol, msg=lambda m, name=name: f"{name}: {m}")
        else:
            assert actual == expected, name


def as_image(frame: torch.Tensor) -> Image.Image:
    """Turn a frame (3, height, width) in [-1, 1] into the image that it came from."""
    return Image.fromarray(((frame + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy())
