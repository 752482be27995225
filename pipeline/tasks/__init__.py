"""What sweeps score: a kind for each way in which videos are measured, each in a module of its own."""
