"""Interpolation between frames (DINTR-style) with the small model with text, beside propagation and controls.

``python -m training.interpolation OUT``: J&F and identity on clips of seed 0, the error of the roll-out by its steps,
and the seconds of a pair. OUT needs the ``chosen.json`` of ``training.attention choose``; scores are lines of JSON
there, and the command continues where it was stopped.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from ted.extract.attention_maps import attention_layers
from ted.extract.interpolation.operators import Pair, make_operator, roll_out, timestep_of
from ted.extract.interpolation.reading import AttentionMeans, largest_sources
from ted.extract.interpolation.tuning import Tuned, draw_for, predict, tunable, tune_pair
from ted.extract.noising.keyed_noise import NoiseKey
from ted.pipeline.synthetic.captions import caption
from ted.pipeline.synthetic.rendering import Clip, render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.pipeline.synthetic.sets import set_specs
from ted.propagate.interpolation import ReadOutSettings, labels_of_pair
from ted.propagate.targets.masks import decode_mask, encode_mask

from .attention import RADIUS, SETS, SIDE, Method, Networks, follow, reported, sparse
from .tracking import Score, mean_and_error, score

#: Steps of the roll-out, and the share of its last steps in which attention is read.
_ROLL, _SHARE = 10, 0.8
#: The network's timestep at the roll-out's start. Frames have no noise, so that low levels suit them.
_TOP = 41
_LAYERS = ("up_blocks",)
_RATE = 3e-4


@dataclass(frozen=True, kw_only=True)
class Interpolated:
    """A method: the network, steps of fine-tuning for each pair, what is tuned, and modes of the read-out."""

    network: str = "trained"
    steps: int = 20
    tuned: Tuned = "attention-queries"
    modes: tuple[str, ...] = ("self",)


#: Methods by title; a mode's scores are under ``TITLE, MODE``.
METHODS = {
    "interpolation": Interpolated(modes=("self", "propagated", "product")),
    "interpolation, all weights tuned": Interpolated(tuned="all", modes=("self", "propagated", "product")),
    "interpolation, not fine-tuned": Interpolated(steps=0, modes=("self", "propagated", "product")),
    "interpolation, untrained network": Interpolated(network="untrained"),
}


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """Scores of a clip by mode, errors of the roll-out (pair, step), and seconds of a pair."""

    scores: dict[str, Score]
    errors: list[list[float]]
    seconds: float


def interpolate(networks: Networks, method: Interpolated, clip: Clip, ground: str, seed: int) -> Tracked:
    """Fine-tune the network on each pair of frames in turn, roll it out, and read the objects from its attention.

    The text is the clip's caption, and an object's word is that of its colour.
    """
    backbone = networks.get(method.network)
    text = caption(clip.names, ground)
    names = [name.split()[0] for name in clip.names]
    tokens = [backbone.text.positions(text, name) for name in names]
    condition = {"text_states": backbone.text.encode(text).clone()}
    pixels = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = backbone.encode(pixels)
    grid = (latents.shape[-2], latents.shape[-1])
    operator = make_operator("offset", _ROLL, backbone.schedule, backbone.prediction, _TOP)
    timesteps = {step: timestep_of(step, _ROLL, _TOP) for step in range(1, _ROLL + 1)}
    first = encode_mask(clip.masks[0], grid)
    labels = dict.fromkeys(method.modes, first.label[1:])
    found: dict[str, list[torch.Tensor]] = {mode: [] for mode in method.modes}
    errors, start = [], time.process_time()
    with tunable(backbone.network, method.tuned) as parameters:
        for frame in range(1, len(latents)):
            pair, key = Pair(latents[frame - 1], latents[frame]), NoiseKey(seed=seed, video="", start=frame)
            if method.steps:
                tune_pair(
                    backbone,
                    parameters,
                    operator,
                    pair,
                    condition,
                    key=key,
                    timesteps=timesteps,
                    pair_steps=method.steps,
                    rate=_RATE,
                )
            means = AttentionMeans(
                attention_layers(backbone, cross=False, within=_LAYERS),
                attention_layers(backbone, cross=True, within=_LAYERS),
                tokens,
                grid,
            )

            def step_of(step: int, state: torch.Tensor, means: AttentionMeans = means) -> torch.Tensor:
                outputs: list[torch.Tensor] = []

                def forward() -> None:
                    outputs.append(predict(backbone, state, timesteps[step], condition))

                means.read(forward) if step <= _SHARE * _ROLL else forward()
                return outputs[0]

            with torch.no_grad():
                errors.append(roll_out(operator, step_of, pair, draw_for(operator, key, 0, pair.previous))[1])
                sources, weights = largest_sources(means.self_attention(grid), 64)
                cross = means.cross_attention(grid).numpy()
            for mode in method.modes:
                settings = ReadOutSettings(mode=mode)  # type: ignore[arg-type]
                labels[mode] = labels_of_pair(sources, weights, cross, labels[mode], settings=settings)
                found[mode].append(labels[mode])
    seconds = (time.process_time() - start) / (len(latents) - 1)
    size: tuple[int, int] = clip.masks.shape[1:]
    scores = {}
    for mode, of_mode in found.items():
        masks = []
        for label in of_mode[:-1]:
            whole = torch.cat([1 - label.amax(0, keepdim=True), label])
            masks.append(decode_mask(whole, first.object_ids, frame_size=size, size=size))
        scores[mode] = score(clip.masks[1:-1], np.stack(masks))
    return Tracked(scores=scores, errors=errors, seconds=seconds)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--weights", help="Folder of weights.  [default: those of the package]")
@click.option("--clips", default=6, show_default=True, help="Number of clips in each set.")
@click.option("--set", "sets", multiple=True, type=click.Choice([*SETS]), default=[*SETS], help="Set. Repeat.")
@click.option("--seed", default=0, show_default=True, help="Seed of the clips.")
def main(out: Path, weights: str | None, clips: int, sets: Sequence[str], seed: int) -> None:
    """Compare interpolation with propagation by the same network, without fine-tuning, and without training."""
    path, networks = out / f"interpolation-{seed}.jsonl", Networks(weights)
    chosen = json.loads((out / "chosen.json").read_text(encoding="utf-8"))
    propagated = dict([*reported(chosen)["methods"].items()][:2])  # cosines, and attention with equal heads
    known = _read(path)
    for name in sets:
        arrangement, looks = SETS[name]
        specs = set_specs(arrangement, clips, SceneSpec(size=(SIDE, SIDE), radius=RADIUS, seed=seed, **looks))
        for number, spec in enumerate(specs.values()):
            rows = []
            clip = sparse(render(spec))
            methods: dict[str, Method | Interpolated] = {**propagated, **METHODS}
            for title, method in methods.items():
                if (name, number, title) in known:
                    continue
                if isinstance(method, Method):
                    volumes = networks.volumes(clip, spec.ground, [method.source], number)[method.source]
                    value: dict[str, Any] = {"scores": {"": asdict(follow(volumes, method, clip))}}
                else:
                    value = asdict(interpolate(networks, method, clip, spec.ground, number))
                rows.append(json.dumps({"set": name, "clip": number, "method": title, **value}) + "\n")
            with path.open("a", encoding="utf-8") as file:
                file.writelines(rows)
        show(path, name, clips)


def show(path: Path, name: str, clips: int) -> None:
    """Print a set's scores, seconds of a pair and errors of the roll-out, as means and standard errors."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for (of_set, number, title), row in _read(path).items():
        if of_set == name and number < clips:
            rows.setdefault(title, []).append(row)
    for title, found in rows.items():
        for mode in found[0]["scores"]:
            scores = [Score(**row["scores"][mode]) for row in found]
            jf, identity = (
                mean_and_error(values)
                for values in ([(one.j + one.f) / 2 for one in scores], [one.identity for one in scores])
            )
            about = f"{title}, {mode}" if mode else title
            print(f"| {name} | {about} | {jf[0]:.1f} ± {jf[1]:.1f} | {identity[0]:.1f} ± {identity[1]:.1f} |")
        if "errors" in found[0]:
            curve = np.mean([row["errors"] for row in found], axis=(0, 1))
            seconds = np.mean([row["seconds"] for row in found])
            print(f"  {title}: {seconds:.2f} s a pair, MSE {' '.join(f'{value:.4f}' for value in curve)}", flush=True)


def _read(path: Path) -> dict[tuple[str, int, str], dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return {(row["set"], row["clip"], row["method"]): row for row in rows}


if __name__ == "__main__":
    main()
