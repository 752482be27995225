"""The diffusion backbones, one file each, and the one place where they are listed."""
