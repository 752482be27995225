"""The list of commands: name, where it is, and one line of help."""

__all__ = ["COMMANDS"]

#: By name: (module, function, what it does). Nothing here is imported before it is run.
COMMANDS = {
    "extract": ("extract", "extract", "Stage 1: write diffusion features of videos into the cache."),
    "propagate": ("propagate", "propagate", "Stage 2: propagate given masks, joints or points along cached features."),
    "sweep": ("sweep", "sweep", "Score many settings of stage 2 on the same features, and find the best."),
    "evaluate": ("evaluate", "evaluate", "Score results against ground truth, as the official evaluations do."),
    "show": ("show", "show", "Look at features, similarities, sources and masks: pictures and movies."),
    "report": ("report", "report", "Write a page about results and sweeps: tables, curves, frames, cost."),
    "cache": ("cache", "cache", "List, describe, verify, convert, copy and remove what the cache holds."),
    "import": ("import_features", "import_features", "Put features made elsewhere (.npy, .pt) into the cache."),
    "synth": ("synth", "synth", "Make videos of similar-looking objects with exact masks, points and tracks."),
    "demo": ("demo", "demo", "Run the whole path on synthetic videos, with small models that come along."),
    "small-weights": ("small_weights", "small_weights", "Write a small random model of a backbone, to try things."),
}
