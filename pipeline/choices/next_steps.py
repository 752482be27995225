"""Commands to type next, for a user's own video."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from ...extract.backbones import backbone_info
from .presets import get_preset

__all__ = ["better_features", "own_video_commands"]


def own_video_commands(source: Path, masks: Path) -> list[str]:
    """Return the commands that track objects from a folder of masks, without a network."""
    return [
        _line("ted", "extract", source, "--preset", "colours"),
        _line("ted", "propagate", source, "--annotations", masks, "--preset", "colours", "--overlay"),
    ]


def better_features(sources: Sequence[Path], annotated: Sequence[object]) -> list[str]:
    """Return the ways from features without a network to better ones: downloads, then commands.

    Parameters
    ----------
    sources
        The sources of the run.
    annotated
        Options that name the masks of the run, such as ``--annotations masks``.
    """
    lines = ["colours confuse objects that look alike; better features, after a download:"]
    for preset, title in (("dinov2", "DINOv2"), ("davis-efficient", "the paper's diffusion models, on a GPU")):
        backbones = [feature.partition(":")[0] for feature in get_preset(preset).features]
        weights = {name: published for name in backbones if (published := backbone_info(name).published) is not None}
        files = [f"--weights={name}={one.name}" for name, one in weights.items() if not one.on_hub]
        lines += [
            f"  {title} ({' + '.join(one.size for one in weights.values())}):",
            *(f"    {one.download}" for one in weights.values()),
            f"    {_line('ted', 'extract', *sources, '--preset', preset, *files)}",
            f"    {_line('ted', 'propagate', *sources, *annotated, '--preset', preset, '--out', f'results-{preset}')}",
        ]
    return lines


def _line(*words: object) -> str:
    return shlex.join(map(str, words))
