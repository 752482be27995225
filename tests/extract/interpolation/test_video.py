"""Interpolation of videos: fine-tuning, attention, interruptions and bad input, on small random networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ted.extract.attention_maps import attention_layers
from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.extract.frames import FrameSize
from ted.extract.interpolation.operators import timestep_of
from ted.extract.interpolation.plan import Indicator, InterpolationPlan, plan_interpolation
from ted.extract.interpolation.reading import largest_sources, resize_attention
from ted.extract.interpolation.settings import InterpolationSettings
from ted.extract.interpolation.tuning import predict, tuned_parameters
from ted.extract.interpolation.video import DivergedError, InterpolationReport, interpolate_video
from ted.store import Artifact, Cache, verify_unit
from ted.store.errors import ConfigError, TedError
from tests.extract.conftest import ArrayFrames, random_frames
from tests.extract.small_folders import SmallFolders

SETTINGS: dict[str, Any] = {
    "frame_size": FrameSize(exact=(64, 64)),
    "pair_steps": 2,
    "roll_steps": 3,
    "rate": 1e-3,
    "slots": 5,
    "layers": ("up_blocks[2]", "up_blocks[3]"),
}


@pytest.fixture(scope="module")
def network(small_folder: SmallFolders) -> Backbone:
    """A small Stable Diffusion on averaged pixels: latents of 8x8, attention of 8x8 and 4x4."""
    folder = small_folder("sd21", standins=True)
    return load_backbone("sd21", str(folder), device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def words(network: Backbone) -> Indicator:
    """Two targets, the second of two tokens, in random text states."""
    states = torch.randn(1, 9, 32, generator=torch.Generator().manual_seed(3))
    return Indicator(targets=("a", "b"), text_states=states, tokens=((2,), (4, 5)), identity={"text": "random"})


@pytest.fixture(scope="module")
def frames() -> ArrayFrames:
    """Three frames of a bright square on noise, which moves by a cell."""
    pictures = random_frames(1).frames.repeat(3, 0) // 4
    for index in range(3):
        pictures[index, 16:40, 8 * index : 8 * index + 24] = 230
    return ArrayFrames(pictures)


def planned(network: Backbone, frames: ArrayFrames, words: Indicator, **changes: Any) -> InterpolationPlan:
    settings = InterpolationSettings(**{**SETTINGS, **changes})
    return plan_interpolation(network, frames, dataset="d", video="v", settings=settings, indicator=words)


def run(
    cache: Path, network: Backbone, frames: ArrayFrames, plan: InterpolationPlan, **options: Any
) -> tuple[InterpolationReport, Artifact]:
    store = Cache(cache)
    report = interpolate_video(store, network, frames, plan, **options)
    return report, Artifact(plan.spec.folder(store.root))


@pytest.fixture(scope="module")
def made(
    network: Backbone, frames: ArrayFrames, words: Indicator, tmp_path_factory: pytest.TempPathFactory
) -> tuple[InterpolationPlan, Artifact]:
    """The unit of an uninterrupted run."""
    plan = planned(network, frames, words)
    before = {name: value.clone() for name, value in network.network.state_dict().items()}
    report, unit = run(tmp_path_factory.mktemp("made"), network, frames, plan)
    assert report.written
    assert report.frames_computed == 3
    assert all(torch.equal(value, before[name]) for name, value in network.network.state_dict().items())
    assert not any(value.requires_grad for value in network.network.parameters())
    return plan, unit


def test_fine_tuning_fits_a_pair(network: Backbone, frames: ArrayFrames, words: Indicator, tmp_path: Path) -> None:
    two = ArrayFrames(frames.frames[:2])
    errors = {}
    for steps in (0, 10):
        plan = planned(network, two, words, pair_steps=steps, tuned="all", rate=4e-3)
        _, unit = run(tmp_path, network, two, plan)
        errors[steps] = unit["errors"][1][-1]
        losses = unit["losses"][1]
    assert losses[-3:].mean() < losses[:3].mean() / 2
    assert errors[10] < errors[0] / 2


def test_attention_is_the_mean_over_layers_heads_and_steps(
    network: Backbone, frames: ArrayFrames, words: Indicator, tmp_path: Path
) -> None:
    """Frame 0 is read at the steps 2 and 1 of 3 from the frame itself; compare with diffusers' own weights."""
    plan = planned(network, frames, words, slots=64, pair_steps=0)
    one = ArrayFrames(frames.frames[:1])
    _, unit = run(tmp_path, network, one, planned(network, one, words, slots=64, pair_steps=0))
    pixels = torch.from_numpy(frames.frames[0]).permute(2, 0, 1)[None] / 127.5 - 1
    latents = network.encode(pixels)[0]
    own, cross = np.zeros((64, 64)), np.zeros((2, 8, 8))
    layers = {cross: attention_layers(network, cross=cross, within=SETTINGS["layers"]) for cross in (False, True)}
    assert len(layers[False]) == len(layers[True]) == 4
    for step in (2, 1):
        inputs: dict[str, Any] = {}
        hooks = [
            layer.register_forward_hook(
                lambda module, args, kwargs, output, at=(inputs, name): at[0].__setitem__(at[1], (args, kwargs)),
                with_kwargs=True,
            )
            for kind in layers.values()
            for name, layer in kind.items()
        ]
        with torch.no_grad():
            predict(network, latents, timestep_of(step, 3, 999), {"text_states": words.text_states})
        for hook in hooks:
            hook.remove()
        for is_cross, kind in layers.items():
            for name, layer in kind.items():
                args, kwargs = inputs[name]
                text = kwargs["encoder_hidden_states"] if is_cross else args[0]
                with torch.no_grad():
                    query, key = (
                        layer.head_to_batch_dim(to(x)) for to, x in ((layer.to_q, args[0]), (layer.to_k, text))
                    )
                    weights = layer.get_attention_scores(query, key).mean(0)
                if is_cross:
                    found = torch.stack([weights[:, 2], weights[:, 4:6].mean(1)])
                    side = round(len(weights) ** 0.5)
                    maps = torch.nn.functional.interpolate(found.reshape(1, 2, side, side), (8, 8), mode="bilinear")
                    cross += maps[0].numpy() / 8
                else:
                    side = round(len(weights) ** 0.5)
                    own += resize_attention(weights, (side, side), (8, 8)).numpy() / 8
    sources, weights = unit["sources"][0], unit["weights"][0]
    assert np.array_equal(sources, np.tile(np.arange(64, dtype=np.int32), (64, 1)))
    np.testing.assert_allclose(weights, own, atol=2e-6)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(unit["cross"][0], cross.reshape(2, 64), atol=2e-6)
    assert plan.spec.request["grid"] == [8, 8]


def test_resized_attention_by_hand() -> None:
    """Twice as fine along x: the rows between are means of 1/4 and 3/4, a source's weight is shared by its cells."""
    weights = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    found = resize_attention(weights, (1, 2), (1, 4))
    rows = torch.tensor([[0.8, 0.2], [0.7, 0.3], [0.5, 0.5], [0.4, 0.6]])
    share = torch.tensor([[1, 0.75, 0.25, 0], [0, 0.25, 0.75, 1]]) / 2
    torch.testing.assert_close(found, rows @ share)
    torch.testing.assert_close(found.sum(1), torch.ones(4))


def test_largest_sources_by_hand() -> None:
    sources, weights = largest_sources(torch.tensor([[0.1, 0.5, 0.0, 0.4], [0.0, 0.0, 1.0, 0.0]]), 2)
    assert sources.tolist() == [[1, 3], [2, -1]]
    np.testing.assert_allclose(weights, [[0.5, 0.4], [1, 0]])


class Stopped(BaseException):
    """A kill in the middle of a pair."""


def stop_after(passes: int) -> Any:
    done = 0

    def start(total: int) -> Any:
        def advance(count: int) -> None:
            nonlocal done
            done += count
            if done > passes:
                raise Stopped

        return advance

    return start


@pytest.mark.parametrize("damage", [bytes, lambda data: b"cut", lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_killed_run_resumes_to_the_same_bytes(
    network: Backbone,
    frames: ArrayFrames,
    made: tuple[InterpolationPlan, Artifact],
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
) -> None:
    """Killed in the roll-out of the second pair, also if the first pair's tuned weights are cut, or differ in a bit."""
    plan, whole = made
    with pytest.raises(Stopped):
        run(tmp_path, network, frames, plan, progress=stop_after(3 + 5 + 3))
    assert Cache(tmp_path).state(plan.spec) == "incomplete"
    kept = list(tmp_path.rglob("*.tuned"))
    assert [path.name for path in kept] == ["1.tuned"]
    kept[0].write_bytes(damage(kept[0].read_bytes()))
    report, unit = run(tmp_path, network, frames, plan)
    assert report.frames_computed == 1
    assert unit.content_hash == whole.content_hash
    assert not list(tmp_path.rglob("*.tuned"))
    assert verify_unit(unit.folder).state == "ok"


class Learning:
    """Text states that depend on all results before, the last frame's latents and the tuned weights."""

    def __init__(self, network: Backbone, states: torch.Tensor) -> None:
        self.network, self.states, self.frames = network, states, [0]

    def advance(self, frame: int, values: Any) -> None:
        assert frame == self.frames[-1]
        self.frames.append(frame + 1)
        self.states = self.states + float(values["cross"].sum() + values["sources"][3, 2])

    def text_states(self, latents: torch.Tensor) -> torch.Tensor:
        weight = next(value for name, value in self.network.network.named_parameters() if "attn1.to_q" in name)
        return self.states * 0.1 + float(latents.sum() + weight.sum().detach())


def test_text_that_depends_on_results_resumes_to_the_same_bytes(
    network: Backbone, frames: ArrayFrames, words: Indicator, tmp_path: Path
) -> None:
    assert words.text_states is not None
    plan, hashes = planned(network, frames, words, pair_steps=1), []
    for passes in (100, 3 + 4 + 2):
        cache, states = tmp_path / str(passes), words.text_states
        if passes < 100:
            with pytest.raises(Stopped):
                run(cache, network, frames, plan, update=Learning(network, states), progress=stop_after(passes))
        hashes.append(run(cache, network, frames, plan, update=Learning(network, states))[1].content_hash)
    fixed = run(tmp_path / "fixed", network, frames, plan)[1].content_hash
    assert hashes[0] == hashes[1] != fixed


def test_a_damaged_pair_alone_is_computed_again(
    network: Backbone, frames: ArrayFrames, made: tuple[InterpolationPlan, Artifact], tmp_path: Path
) -> None:
    plan, whole = made
    _, unit = run(tmp_path, network, frames, plan)
    (unit.folder / "weights/c/1/0/0").unlink()
    report, again = run(tmp_path, network, frames, plan)
    assert report.frames_computed == 1
    assert again.content_hash == whole.content_hash
    assert not run(tmp_path, network, frames, plan)[0].written


def test_without_a_warm_start_each_pair_begins_from_the_pretrained_weights(
    network: Backbone, frames: ArrayFrames, words: Indicator, made: tuple[InterpolationPlan, Artifact], tmp_path: Path
) -> None:
    _, cold = run(tmp_path, network, frames, planned(network, frames, words, warm_start=False))
    same = [np.array_equal(cold["weights"][frame], made[1]["weights"][frame]) for frame in range(3)]
    assert same == [True, True, False]


def test_a_diverging_loss_names_pair_step_and_rate(
    network: Backbone, frames: ArrayFrames, words: Indicator, tmp_path: Path
) -> None:
    plan = planned(network, frames, words, rate=1e30, pair_steps=5)
    with pytest.raises(
        DivergedError, match=r"frames 00000 -> 00001: the loss is nan at step \d of 5 .* rate of 1e\+30"
    ):
        run(tmp_path, network, frames, plan)


def test_a_roll_out_that_is_not_finite_is_refused(
    network: Backbone, frames: ArrayFrames, words: Indicator, tmp_path: Path
) -> None:
    """The last update of a pair is not followed by a loss."""
    plan = planned(network, frames, words, rate=1e30, pair_steps=1, tuned="all")
    with pytest.raises(DivergedError, match="frames 00000 -> 00001: the roll-out of the tuned network is not finite"):
        run(tmp_path, network, frames, plan)
    assert Cache(tmp_path).state(plan.spec) == "incomplete"


@pytest.mark.parametrize("times", [1, 2])
def test_memory_that_runs_out_is_tried_again_with_checkpoints(
    network: Backbone,
    frames: ArrayFrames,
    made: tuple[InterpolationPlan, Artifact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    plan, whole = made
    left, forward = times, network.network.forward

    def scarce(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        if torch.is_grad_enabled() and left:
            left -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, **kwargs)

    monkeypatch.setattr(network.network, "forward", scarce)
    if times == 2:
        with pytest.raises(TedError, match=r"00000 -> 00001: out of memory$"):
            run(tmp_path, network, frames, plan)
    else:
        report, unit = run(tmp_path, network, frames, plan)
        assert "gradient checkpointing" in report.remarks[0]
        assert unit.content_hash == whole.content_hash
    assert not any(getattr(module, "gradient_checkpointing", False) for module in network.network.modules())


def test_identical_frames_and_cuts_are_reported(network: Backbone, words: Indicator, tmp_path: Path) -> None:
    pictures = random_frames(3).frames // 8
    pictures[1] = pictures[0]
    pictures[2, :, 32:] += 200
    frames = ArrayFrames(pictures)
    report, _ = run(tmp_path, network, frames, planned(network, frames, words, pair_steps=1))
    assert [remark.split(":")[0] for remark in report.remarks] == ["frames 00000 -> 00001", "frames 00001 -> 00002"]
    assert "identical" in report.remarks[0]
    assert "cut" in report.remarks[1]


def test_adm_is_read_without_cross_attention(adm: Backbone, frames: ArrayFrames, tmp_path: Path) -> None:
    two = ArrayFrames(frames.frames[:2])
    plan = planned(adm, two, Indicator(targets=("object 1",)), operator="reconstruction", layers=("up_blocks[1]",))
    assert plan.spec.request["cross"] is False
    assert plan.spec.request["targets"] == []
    _, unit = run(tmp_path, adm, two, plan)
    assert not unit["cross"][...].any()
    assert (unit["weights"][...] > 0).all()


def test_tuned_weights(network: Backbone, adm: Backbone) -> None:
    queries = tuned_parameters(network.network, "attention-queries")
    assert {name.rsplit(".", 3)[1] for name in queries} == {"attn1", "attn2"}
    assert all(".to_q." in name for name in queries)
    sizes = [len(tuned_parameters(network.network, kind)) for kind in ("attention-queries", "attention", "all")]
    assert sizes == sorted(set(sizes))
    assert all(".to_q." in name for name in tuned_parameters(adm.network, "attention-queries"))


def test_wrong_settings_are_refused(network: Backbone, frames: ArrayFrames, words: Indicator, svd: Backbone) -> None:
    with pytest.raises(ConfigError, match="cannot interpolate"):
        planned(svd, frames, Indicator())
    with pytest.raises(ConfigError, match="has no self-attention in up_blocks"):
        planned(network, frames, words, layers=("up_blocks[0]",))
    with pytest.raises(ConfigError, match="learning rate"):
        InterpolationSettings(rate=0)
