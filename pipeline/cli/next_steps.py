"""Ways from features without a network to better ones."""

from .base import next_command

__all__ = ["better_features"]


def better_features() -> list[str]:
    """Return downloads and commands that track the running command's videos with better features."""
    from ...extract.backbones import backbone_info
    from ..choices.presets import get_preset

    lines = ["colours confuse objects that look alike; better features, after a download:"]
    for preset, title in (("dinov2", "DINOv2"), ("davis-efficient", "the paper's diffusion models, on a GPU")):
        backbones = [feature.partition(":")[0] for feature in get_preset(preset).features]
        weights = {name: published for name in backbones if (published := backbone_info(name).published) is not None}
        files = [f"{name}={one.name}" for name, one in weights.items() if not one.on_hub]
        lines += [
            f"  {title} ({' + '.join(one.size for one in weights.values())}):",
            *(f"    {one.download}" for one in weights.values()),
            f"    {next_command('extract', preset=preset, weights=files)}",
            f"    {next_command('propagate', preset=preset, out=f'results-{preset}')}",
        ]
    return lines
