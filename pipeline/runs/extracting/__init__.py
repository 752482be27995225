"""Running stage 1: which videos with which backbones, on which devices, by which processes."""
