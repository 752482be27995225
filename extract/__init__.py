"""Stage 1: diffusion features of video frames, written to the cache."""
