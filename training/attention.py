"""Attention of the small model with text as the propagation kernel (DRIFT-style), beside cosines and controls.

``python -m training.attention choose OUT``: timestep, layers, scale, head and share of cosines, on clips of seed 1.
``python -m training.attention report OUT``: the chosen settings on other clips (seed 0), with standard errors.

Scores are lines of JSON in OUT, one for each clip and method; the commands continue where they were stopped.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import cv2
import dask.array
import numpy as np
import torch

from ted.extract.backbones import load_backbone
from ted.extract.noising import parse_noising
from ted.extract.noising.base import CleanClip
from ted.pipeline.runs.warping import random_affine
from ted.pipeline.synthetic.captions import caption
from ted.pipeline.synthetic.rendering import Clip, render
from ted.pipeline.synthetic.scene import SceneSpec
from ted.pipeline.synthetic.sets import set_specs
from ted.propagate import AttentionKernel, FeatureReader, PropagationSettings, TrackingSession
from ted.propagate.head_weights import learn_head_weights
from ted.propagate.targets.masks import cells_of_objects, decode_mask, encode_mask

from .attention_start import start_as_similarity
from .tracking import Score, mean_and_error, score

#: Sets by name: arrangement and appearance of the objects.
SETS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "crossing": ("crossing", {"identical": True}),
    "near": ("near", {"identical": True}),
    "distinct": ("random", {"identical": False, "hue_step": 120.0, "shape": "mixed"}),
}

#: Side of the frames in pixels; latents are averages of 4x4 pixels.
SIDE = 128
RADIUS = (13.0, 20.0)
_SETTINGS = PropagationSettings(temperature=0.1, top_k=10, radius=8, context=7)

#: Every second frame of 16 is used.
_EVERY = 2

_TAUS = (41, 121, 201, 281)  # on the path of DDIM inversion in 25 steps, as 401 is
_INVERSION = "ddim-inversion:steps=25"
_SCALES = (0.5, 1.0, 2.0, 4.0)
_SHARES = (0.25, 0.5, 0.75)
_FINE = ("up_blocks[1].attentions[0].attn1", "up_blocks[1].attentions[1].attn1")
_COARSE = ("up_blocks[0].attentions[0].attn1", "up_blocks[0].attentions[1].attn1")
LAYERS = {"fine": _FINE, "coarse": _COARSE, "all": _FINE + _COARSE}
_MAPS = ("up_blocks[0]", "up_blocks[1]")
CONTROLS = ("position", "rgb")

#: Warped copies of the first frame, from which weights of heads are learned.
_COPIES = 6


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One run of a network over a clip: the network, the noise, the timestep and the prompt."""

    tau: int
    network: str = "trained"
    noising: str = "random"
    prompt: str = ""  # ``"class"``, ``"caption"``; empty for no text


@dataclass(frozen=True, kw_only=True)
class Method:
    """How labels are propagated: features and their weights, of one pass, and the settings."""

    source: Pass
    parts: Mapping[str, float]
    settings: PropagationSettings
    learned: bool = False  # weights of heads learned from warped copies of the first frame


def cosine(source: Pass, tap: str) -> Method:
    """Return a method that compares features by cosines."""
    return Method(source=source, parts={tap: 1.0}, settings=_SETTINGS)


def attention(source: Pass, layers: str, *, share: float = 0.0, tap: str = "", **kernel: Any) -> Method:
    """Return a method with the attention of some layers; `share` is the weight of the cosines of a tap."""
    taps = LAYERS[layers]
    parts = {f"{layer}:qk": (1 - share) / len(taps) for layer in taps} | ({tap: share} if share else {})
    learned = kernel.pop("learned", False)
    settings = replace(_SETTINGS, kernel=AttentionKernel(**kernel))
    return Method(source=source, parts=parts, settings=settings, learned=learned)


@dataclass(frozen=True, kw_only=True)
class _Volume:
    """Features of a clip in memory, with the description that the kernels read from a unit."""

    features: Any
    frame_size: tuple[int, int]
    spec: SimpleNamespace


@dataclass
class Networks:
    """Networks by name, and features of clips that they have computed."""

    weights: str | None
    loaded: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """Load ``trained``, ``untrained`` (random weights), ``start`` (as training starts) or a control."""
        if name in CONTROLS and name not in self.loaded:
            self.loaded[name] = load_backbone(name, None, device=torch.device("cpu"), dtype=torch.float32)
        elif name not in self.loaded:
            path = self.weights
            if name == "untrained":
                path = "random:1" if path is None else f"random:1:{path}"
            backbone: Any = load_backbone("demo-text", path, device=torch.device("cpu"), dtype=torch.float32)
            if name == "start":
                torch.manual_seed(1)
                backbone.network = type(backbone.network)(**dict(backbone.network.config)).eval()
                start_as_similarity(backbone.network)
            self.loaded[name] = backbone
        return self.loaded[name]

    def volumes(self, clip: Clip, ground: str, sources: Sequence[Pass], seed: int) -> dict[Pass, dict[str, _Volume]]:
        """Compute the features of a clip: all maps of `_MAPS`, queries and keys, by pass and tap.

        The random noise of a frame is the same in all passes.
        """
        found: dict[Pass, dict[str, _Volume]] = {}
        groups: dict[tuple[str, str, str], list[Pass]] = {}
        for source in sources:
            groups.setdefault((source.network, source.noising, source.prompt), []).append(source)
        pixels = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
        for (network, noising, prompt), passes in groups.items():
            backbone = self.get(network)
            latents = backbone.encode(pixels)
            condition: dict[str, torch.Tensor] = {}
            if network not in CONTROLS:
                text = {"": "", "class": caption(dict.fromkeys(clip.names)), "caption": caption(clip.names, ground)}
                condition["text_states"] = backbone.text.encode(text[prompt])
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
            clean = CleanClip(latents=latents, condition=condition, noise=noise[None])
            with torch.inference_mode():
                noisy = parse_noising(noising).perturb(backbone, clean, [source.tau for source in passes])
            taps = ["stride4"] if network in CONTROLS else [*_MAPS, *(f"{layer}:qk" for layer in LAYERS["all"])]
            heads = {name: tap.heads for name, tap in backbone.choose_taps(taps).items()}
            for source in passes:
                maps = backbone.features(noisy(source.tau, 0)[None], source.tau, condition, taps)
                found[source] = {
                    tap: _Volume(
                        features=dask.array.from_array(value[0].permute(0, 2, 3, 1).numpy(), chunks=(8, -1, -1, -1)),
                        frame_size=clip.frames.shape[1:3],
                        spec=SimpleNamespace(feature=f"{source}:{tap}", heads=heads[tap]),
                    )
                    for tap, value in maps.items()
                }
        return found


def sparse(clip: Clip) -> Clip:
    """Return a clip with every second frame."""
    return replace(clip, frames=clip.frames[::_EVERY], masks=clip.masks[::_EVERY])


def follow(volumes: Mapping[str, _Volume], method: Method, clip: Clip) -> Score:
    """Propagate the first mask of a clip by a method, and score the masks."""
    parts = [(volumes[tap], weight) for tap, weight in method.parts.items()]
    size: tuple[int, int] = clip.masks.shape[1:]
    first = encode_mask(clip.masks[0], FeatureReader(parts).grid)
    session = TrackingSession(parts, method.settings, first.label, memory=0)
    masks = [
        decode_mask(label, first.object_ids, frame_size=size, size=size) for frame, label in session.labels() if frame
    ]
    return score(clip.masks[1:-1], np.stack(masks[:-1]))


def warped(clip: Clip, seed: int) -> Clip:
    """Return the first frame of a clip and warped copies of it."""
    random, size = np.random.default_rng(seed), clip.masks.shape[1:]
    frames, masks = [clip.frames[0]], [clip.masks[0]]
    for _ in range(_COPIES):
        matrix = random_affine(random, size)
        for images, flags in ((frames, cv2.INTER_LINEAR), (masks, cv2.INTER_NEAREST)):
            images.append(
                cv2.warpAffine(images[0], matrix, dsize=size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101)
            )
    return replace(clip, frames=np.stack(frames), masks=np.stack(masks))


def with_learned_heads(networks: Networks, method: Method, clip: Clip, ground: str, seed: int) -> Method:
    """Return a method with the weights of heads that warped copies of the clip's first frame teach."""
    copies = warped(clip, seed)
    volumes = networks.volumes(copies, ground, [method.source], seed)[method.source]
    layers = [volumes[tap] for tap in method.parts if tap.endswith(":qk")]
    grid = FeatureReader([(one, 1.0) for one in layers]).grid
    ids = sorted({*np.unique(copies.masks[0]).tolist()} - {0})
    labels = {frame: cells_of_objects(mask, ids, grid) for frame, mask in enumerate(copies.masks)}
    kernel = method.settings.kernel
    assert isinstance(kernel, AttentionKernel)
    learned = learn_head_weights(layers, labels, kernel, radius=method.settings.radius)
    return replace(method, settings=replace(method.settings, kernel=replace(kernel, head_weights=learned.weights)))


@dataclass(frozen=True)
class Scores:
    """Scores in a file with one line of JSON for each clip and method."""

    path: Path

    def read(self) -> dict[tuple[str, int, str], Score]:
        """Return the scores by set, number of the clip, and method."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("}")]  # not a line that was cut off
        return {(row["set"], row["clip"], row["method"]): Score(**row["score"]) for row in rows}

    def fill(
        self, networks: Networks, seed: int, count: int, methods: Mapping[str, Method], sets: Sequence[str] = (*SETS,)
    ) -> None:
        """Score the methods that are missing, on the clips of some sets."""
        known = self.read()
        for name in sets:
            arrangement, looks = SETS[name]
            base = SceneSpec(size=(SIDE, SIDE), radius=RADIUS, seed=seed, **looks)
            for number, spec in enumerate(set_specs(arrangement, count, base).values()):
                missing = {title: one for title, one in methods.items() if (name, number, title) not in known}
                if not missing:
                    continue
                clip = sparse(render(spec))
                volumes = networks.volumes(clip, spec.ground, [one.source for one in missing.values()], number)
                lines = []
                for title, method in missing.items():
                    if method.learned:
                        method = with_learned_heads(networks, method, clip, spec.ground, number)
                    found = follow(volumes[method.source], method, clip)
                    row = {"set": name, "clip": number, "method": title, "score": asdict(found)}
                    lines.append(json.dumps(row) + "\n")
                with self.path.open("a", encoding="utf-8") as file:
                    file.writelines(lines)
            print(f"  {name}: {len(methods)} methods, {count} clips", flush=True)

    def means(
        self, title: str, count: int, sets: Sequence[str] = (*SETS,)
    ) -> dict[str, dict[str, tuple[float, float]]]:
        """Return mean and standard error by set and measure: J&F, and identity."""
        known = self.read()
        found = {}
        for name in sets:
            scores = [known[name, number, title] for number in range(count)]
            found[name] = {
                "jf": mean_and_error([(one.j + one.f) / 2 for one in scores]),
                "identity": mean_and_error([one.identity for one in scores]),
            }
        return found

    def best(self, methods: Mapping[str, Method], count: int) -> str:
        """Return the method with the highest mean J&F over the sets."""
        means = {title: self.means(title, count) for title in methods}
        return max(methods, key=lambda title: sum(row["jf"][0] for row in means[title].values()))

    def show(self, titles: Sequence[str], count: int, sets: Sequence[str] = (*SETS,)) -> None:
        """Print a Markdown table of J&F and identity by set."""
        print("| method |" + "".join(f" {name}: J&F | identity |" for name in sets))
        print("|---|" + "---|---|" * len(sets))
        for title in titles:
            row = self.means(title, count, sets)
            cells = [f"{mean:.1f} ± {error:.1f}" for one in row.values() for mean, error in one.values()]
            print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


@click.group()
def main() -> None:
    """Evaluate attention as the kernel in the small model with text."""


def _command(function: Callable[..., None]) -> click.Command:
    for option in (
        click.option("--weights", help="Folder of weights.  [default: those of the package]"),
        click.option("--clips", "count", type=int, help="Number of clips in each set.  [default: 6 or 50]"),
        click.argument("out", type=click.Path(path_type=Path)),
    ):
        function = option(function)
    return main.command()(function)


def candidates(chosen: Mapping[str, Any]) -> dict[str, dict[str, Method]]:
    """Return the methods to choose from, by kind; those of later kinds depend on earlier choices."""
    found = {"cosine": {f"{tap}, tau {tau}": cosine(Pass(tau=tau), tap) for tau in _TAUS for tap in _MAPS}}
    found["attention"] = {
        f"attention {name}, tau {tau}": attention(Pass(tau=tau), name) for tau in _TAUS for name in LAYERS
    }
    if "attention" in chosen:
        layers, source = chosen["attention"]["layers"], Pass(tau=chosen["attention"]["tau"])
        found["scale"] = {f"scale {scale}": attention(source, layers, scale=scale) for scale in _SCALES}
    if "scale" in chosen:
        scale, heads = chosen["scale"], _heads(layers)
        found["head"] = {f"head {head}": attention(source, layers, scale=scale, head=head) for head in range(heads)}
        tap = chosen["cosine"]["tap"]
        found["share"] = {
            f"cosine share {share}": attention(source, layers, scale=scale, share=share, tap=tap) for share in _SHARES
        }
    return found


def _heads(layers: str) -> int:
    return sum(2 if layer in _FINE else 4 for layer in LAYERS[layers])


@_command
def choose(out: Path, weights: str | None, count: int | None) -> None:
    """Choose timestep, layers, scale, head and share of cosines by mean J&F over the sets, one after another."""
    out.mkdir(parents=True, exist_ok=True)
    scores, networks, clips = Scores(out / "choose.jsonl"), Networks(weights), count or 6
    chosen: dict[str, Any] = {}
    for kind in ("cosine", "attention", "scale", "head", "share"):
        methods = candidates(chosen)[kind]
        scores.fill(networks, 1, clips, methods)
        best = scores.best(methods, clips)
        method = methods[best]
        print(f"{kind}: {best}")
        kernel: Any = method.settings.kernel
        if kind == "cosine":
            chosen[kind] = {"tau": method.source.tau, "tap": next(iter(method.parts))}
        elif kind == "attention":
            chosen[kind] = {"tau": method.source.tau, "layers": best.split()[1].rstrip(",")}
        else:
            chosen[kind] = float(best.split()[-1]) if kind == "share" else getattr(kernel, kind)
        scores.show(list(methods), clips)
    (out / "chosen.json").write_text(json.dumps(chosen, indent=1) + "\n", encoding="utf-8")


def reported(chosen: Mapping[str, Any]) -> dict[str, dict[str, Method]]:
    """Return the methods of the report, by part."""
    compared, source = chosen["cosine"], Pass(tau=chosen["attention"]["tau"])
    layers, scale = chosen["attention"]["layers"], chosen["scale"]
    equal = functools.partial(attention, layers=layers, scale=scale)
    main_methods = {
        "cosine of features": cosine(Pass(tau=compared["tau"]), compared["tap"]),
        "attention, equal heads": equal(source),
        "attention, best single head": equal(source, head=chosen["head"]),
        "attention, learned heads": equal(source, learned=True),
        "attention fused with cosine": equal(source, share=chosen["share"], tap=compared["tap"]),
    }
    for network, about in (("untrained", "untrained network"), ("start", "network as training starts")):
        other = replace(source, network=network)
        title = f"cosine of features, {about}"
        main_methods[title] = cosine(Pass(tau=compared["tau"], network=network), compared["tap"])
        main_methods[f"attention, equal heads, {about}"] = equal(other)
    for control in CONTROLS:
        main_methods[f"control: {control}"] = cosine(Pass(tau=0, network=control, noising="none"), "stride4")
    noise = {}
    for tau in (1, *_TAUS, 401):
        for noising, about in (("random", "noise"), (_INVERSION, "inversion")):
            noise[f"attention, {about}, tau {tau}"] = equal(Pass(tau=tau, noising=noising))
    prompts = {}
    for prompt, about in (("class", "class names"), ("caption", "caption")):
        prompts[f"attention, {about}"] = equal(replace(source, prompt=prompt))
        prompts[f"cosine of features, {about}"] = cosine(Pass(tau=compared["tau"], prompt=prompt), compared["tap"])
    return {"methods": main_methods, "noise": noise, "prompts": prompts}


@_command
@click.option("--part", type=click.Choice(["methods", "noise", "prompts"]), multiple=True, help="Part; default: all.")
@click.option("--set", "sets", multiple=True, type=click.Choice([*SETS]), default=[*SETS], help="Set; default: all.")
def report(out: Path, weights: str | None, count: int | None, part: Sequence[str], sets: Sequence[str]) -> None:
    """Score the chosen settings and controls, inversion over tau, and prompts, on clips of seed 0."""
    parts = reported(json.loads((out / "chosen.json").read_text(encoding="utf-8")))
    scores, clips, networks = Scores(out / "report.jsonl"), count or 50, Networks(weights)
    for name in part or parts:
        scores.fill(networks, 0, clips, parts[name], sets)
        scores.show(list(parts[name]), clips, sets)


if __name__ == "__main__":
    main()
