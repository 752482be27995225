"""The list of commands: name, module, function, and one line of help."""

#: (module, function, help) by name. A module is imported when its command runs.
COMMANDS = {
    "mask": ("mask", "mask", "Make the first mask of your own video, or take masks of other tools."),
    "extract": ("extract", "extract", "Stage 1: write diffusion features of videos into the cache."),
    "propagate": ("propagate", "propagate", "Stage 2: propagate masks, joints, points or boxes along cached features."),
    "interpolate": ("interpolate", "interpolate", "Stage 1 of tracking by interpolation: attention between frames."),
    "readout": ("readout", "readout", "Stage 2 of tracking by interpolation: read targets out of attention maps."),
    "warp": ("learn_heads", "warp", "Write warped copies of first frames, from which weights of heads are learned."),
    "learn-heads": ("learn_heads", "learn_heads", "Learn weights of attention heads for the kernel attention."),
    "learn-token": ("learn_token", "learn_token", "Learn a text token per object, to condition features on."),
    "sweep": ("sweep", "sweep", "Score many settings of propagation on the same features, and find the best."),
    "evaluate": ("evaluate", "evaluate", "Score results against ground truth, as the official evaluations do."),
    "show": ("show", "show", "Draw features, similarities, sources and results: pictures and movies."),
    "report": ("report", "report", "Write a page about results and sweeps: tables, curves, frames and cost."),
    "export": ("export", "export", "Write results for other tools: COCO, YOLO, CVAT, MOT, LabelMe, DAVIS, editors."),
    "cache": ("cache", "cache", "List, describe, verify, convert, copy and remove units of the cache."),
    "import": ("import_features", "import_features", "Import features of other programs (.npy, .pt) into the cache."),
    "synth": ("synth", "synth", "Make videos of similar-looking objects with exact masks, points and tracks."),
    "demo": ("demo", "demo", "Run all steps on synthetic videos, with bundled models."),
    "small-weights": (
        "small_weights",
        "small_weights",
        "Write a small random model of a backbone, to try the commands.",
    ),
}
