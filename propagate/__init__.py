"""Stage 2: affinities from cached features, and labels propagated along them."""
