"""Learn a text token for each object of a video, and store them in the cache."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from ...extract.attention_maps import attention_layers
from ...extract.backbones.base import Backbone
from ...extract.backbones.latent import TextBackbone
from ...extract.frames import FrameSize, to_pixels
from ...extract.noising.keyed_noise import NOISE_SCHEME, NoiseKey
from ...extract.token_learning import default_layers, learn_tokens
from ...store import TOKEN, Artifact, ArtifactSpec, Cache
from ...store.errors import ConfigError, LabelError
from ..datasets.video import Video
from ..tasks.registry import task_of
from ..tasks.running import TaskRun, encode_targets, target_names


@dataclass(frozen=True, kw_only=True)
class TokenSettings:
    """Settings of learning; see `learn_tokens`. A frame size of None is that of extraction."""

    frame_size: FrameSize | None = None
    layers: tuple[str, ...] = ()
    timestep: int = 100
    draws: int = 4
    steps: int = 100
    rate: float = 0.01
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class VideoTokens:
    """The tokens of a video.

    Attributes
    ----------
    artifact
        The stored tokens; their request has the names of the objects, in the order of the tokens.
    learned
        Whether they were learned now, and not in an earlier run.
    inside, covered
        Shares, averaged over objects, of the tokens' cross-attention inside their masks, and of the cells that a mask
        covers: the share inside of a token that attends to all cells alike.
    left_out
        Names of the objects without a cell in the frame: too small for the grid, or annotated later.
    """

    artifact: Artifact
    learned: bool
    inside: float
    covered: float
    left_out: tuple[str, ...]


def learn_video_tokens(
    cache: Cache,
    backbone: Backbone,
    video: Video,
    run: TaskRun,
    settings: TokenSettings,
    *,
    progress: Callable[[int], None] = lambda steps: None,
) -> VideoTokens:
    """Learn the tokens of the objects in a video's first annotated frame, unless the cache has them.

    Labels are those of the task's targets on the network's input grid. `progress` is called after each step.

    Raises
    ------
    ConfigError
        For a backbone without text, for a timestep that it does not have, and as `learn_tokens`.
    LabelError
        When no object has a cell in the frame.
    CacheError
        When the cache cannot be written, or another process is learning the same tokens.
    """
    if not isinstance(backbone, TextBackbone):
        raise ConfigError(f"backbone {backbone.name!r} takes no text, so it has no place for tokens")
    height, width = backbone.processed_size(video.frames.size, settings.frame_size)
    stride = backbone.frame_encoder.stride
    grid = height // stride, width // stride
    frame, names, masks = _masks(run, grid)
    seen = [index for index, mask in enumerate(masks) if mask.any()]
    left_out = tuple(name for index, name in enumerate(names) if index not in seen)
    if not seen:
        raise LabelError(f"no object of {video.name} has a cell of the {grid[0]}x{grid[1]} grid in frame {frame}")
    targets = masks[seen]
    layers = settings.layers or default_layers(backbone)
    attention_layers(backbone, cross=True, within=layers)  # before a unit is begun
    backbone.schedule.alpha_bar(settings.timestep)
    spec = ArtifactSpec(
        kind=TOKEN.name,
        dataset=video.dataset,
        video=video.name,
        request={
            "backbone": backbone.name,
            "weights": backbone.weights_id,
            "compute_dtype": str(backbone.dtype).removeprefix("torch."),
            "frame": frame,
            "frames": video.frames.digest([frame]),
            "frame_size": [height, width],
            "grid": list(grid),
            "targets": [names[index] for index in seen],
            "masks": _digest(targets),
            "layers": list(layers),
            "timestep": settings.timestep,
            "draws": settings.draws,
            "steps": settings.steps,
            "rate": settings.rate,
            "noise": NOISE_SCHEME,
            "seed": settings.seed,
        },
        sizes={
            "object": len(seen),
            "channel": backbone.text_states.shape[2],
            "step": settings.steps,
            "cell": grid[0] * grid[1],
        },
    )
    there = cache.state(spec) == "complete"
    if not there:
        with cache.artifact_writer(spec) as writer:  # claims it, so that no other process learns it, too
            pixels = torch.from_numpy(to_pixels(video.frames.read(frame), (height, width)))
            found = learn_tokens(
                backbone,
                backbone.encode(pixels[None]),
                targets,
                layers=layers,
                timestep=settings.timestep,
                draws=settings.draws,
                steps=settings.steps,
                rate=settings.rate,
                key=NoiseKey(seed=settings.seed, video=video.name, start=frame),
                progress=progress,
            )
            maps = functional.interpolate(found.maps[None], grid, mode="bilinear", align_corners=False)[0]
            arrays = {"tokens": found.tokens, "losses": found.losses, "maps": maps.flatten(1)}
            writer.write_shared({name: values.numpy() for name, values in arrays.items()})
            writer.finish({"left_out": list(left_out)})
    artifact = Artifact(spec.folder(cache.root))
    stored = torch.from_numpy(artifact["maps"][...])
    inside = (stored * targets.flatten(1)).sum(1) / stored.sum(1)
    return VideoTokens(
        artifact=artifact,
        learned=not there,
        inside=float(inside.mean()),
        covered=float(targets.mean()),
        left_out=left_out,
    )


def is_current(request: Mapping[str, Any], video: Video) -> bool:
    """Tell from the request of tokens whether they were learned in the video's frame and from its masks as they are.

    Masks are compared where the video is annotated with targets of the same names. Raises LabelError for masks that
    cannot be read.
    """
    frame = request.get("frame", 0)
    if frame >= len(video.frames) or request.get("frames", "") not in ("", video.frames.digest([frame])):
        return False
    try:
        _, names, masks = _masks(task_of(video).start(video), (request["grid"][0], request["grid"][1]))
    except LabelError:
        if video.annotated_masks.keys() & set(video.frames.names):
            raise
        return True  # nothing to compare with
    except (ConfigError, KeyError):
        return True
    seen = [index for index, mask in enumerate(masks) if mask.any()]
    return bool([names[index] for index in seen] != request["targets"] or _digest(masks[seen]) == request["masks"])


def _masks(run: TaskRun, grid: tuple[int, int]) -> tuple[int, tuple[str, ...], torch.Tensor]:
    """Return the first annotated frame, the names of the targets, and their labels there, (target, y, x)."""
    frame = min(min(frames) for frames, _ in run.targets)
    encoded = encode_targets(run.targets, grid)
    masks: list[torch.Tensor] = []
    for labels, channels in encoded:
        label = labels[frame].label if frame in labels else torch.zeros(channels.stop, *grid)
        masks += [label[channel].float() for channel in channels]
    return frame, tuple(target_names(run.targets, encoded)), torch.stack(masks)


def _digest(masks: torch.Tensor) -> str:
    return f"sha256:{hashlib.sha256(masks.numpy().tobytes()).hexdigest()}"
