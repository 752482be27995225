"""Options of commands that run backbones: what the paper varies, beside timesteps, taps and noise draws."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ...extract.settings import BackboneOptions, ConditionOn

__all__ = ["backbone_options", "overlap_rule_option", "read_backbone_options"]

#: ``--overlap-rule first|mean``.
overlap_rule_option = click.option(
    "--overlap-rule",
    type=click.Choice(["first", "mean"]),
    default="first",
    help="Feature of a frame that several clips cover: of the first of them, or the mean.",
)


def backbone_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that vary a backbone; see `read_backbone_options`."""
    decorators = [
        click.option("--prompt", metavar="TEXT", help="Prompt of i2vgen-xl and sd21.  [default: the empty one]"),
        click.option(
            "--condition-on",
            type=click.Choice(["clip", "video", "none"]),
            help="Condition video backbones on the first frame of each clip or of the video, or on none.  "
            "[default: clip]",
        ),
        click.option(
            "--fps",
            type=click.IntRange(min=1),
            help="Frames per second that video backbones are told.  [default: i2vgen-xl 16, svd 7]",
        ),
        click.option(
            "--motion-bucket",
            type=click.IntRange(min=0),
            help="How much moves, in svd's measure.  [default: 127]",
        ),
        click.option(
            "--noise-augmentation",
            type=click.FloatRange(min=0),
            help="Noise on svd's conditioning frame.  [default: 0.02]",
        ),
        click.option(
            "--no-temporal",
            is_flag=True,
            help="Leave out the temporal layers of video backbones: every frame by itself.",
        ),
    ]
    return functools.reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), function)


def read_backbone_options(
    *,
    prompt: str | None,
    condition_on: "ConditionOn | None",
    fps: int | None,
    motion_bucket: int | None,
    noise_augmentation: float | None,
    no_temporal: bool,
) -> "BackboneOptions":
    """Return what `backbone_options` say; raises ConfigError for values that make no sense."""
    from ...extract.settings import BackboneOptions

    return BackboneOptions(
        prompt=prompt,
        condition_on=condition_on,
        fps=fps,
        motion_bucket=motion_bucket,
        noise_augmentation=noise_augmentation,
        temporal=not no_temporal,
    )
