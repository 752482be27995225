"""DINTR-style interpolation: fine-tune a diffusion network on consecutive frames, and read its attention between them.

See docs/reference/interpolation.md for what the paper states and what is reconstructed.
"""
