"""Properties of all latent diffusion backbones."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

from ted.extract.backbones import load_backbone
from ted.extract.backbones.base import Backbone
from ted.store.errors import ConfigError
from tests.extract.small_folders import SmallFolders, make_clip

CPU = torch.device("cpu")
NAMES = ["i2vgen-xl", "svd", "sd21"]
VIDEO = ["i2vgen-xl", "svd"]
TAP = "up_blocks[2]"


@pytest.fixture(scope="module")
def loaded(small_folder: SmallFolders) -> Callable[[str], Backbone]:
    backbones = {name: load_backbone(name, small_folder(name), device=CPU, dtype=torch.float32) for name in NAMES}
    return backbones.__getitem__


def seeded(shape: Sequence[int], seed: int = 0) -> torch.Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


def prepare(
    backbone: Backbone, clip: torch.Tensor, timestep: int = 300, seed: int = 1
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return x_tau of one clip, (1, frame, channel, y, x), and its conditioning."""
    latents = backbone.encode(clip)
    noisy = backbone.schedule.perturb(latents, seeded(latents.shape, seed), timestep)
    return noisy[None], dict(backbone.condition(clip, clip[:1], seeded))


def relative_change(after: torch.Tensor, before: torch.Tensor) -> float:
    return float((after - before).norm() / before.norm())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("i2vgen-xl", ("sample", "fps", "image_latents", "image_embeddings", "encoder_hidden_states")),
        ("svd", ("sample", "encoder_hidden_states", "added_time_ids")),
    ],
)
def test_arguments_of_a_batch_are_those_of_its_clips(
    name: str, arguments: tuple[str, ...], loaded: Callable[[str], Backbone]
) -> None:
    backbone = loaded(name)
    noisy = seeded((2, backbone.clip_length, 4, 8, 8))
    conditions = [
        backbone.condition(clip, clip[:1], seeded)
        for clip in (make_clip(backbone.clip_length, 64, 64, seed=seed) for seed in (1, 2))
    ]
    both = {key: torch.cat([condition[key] for condition in conditions]) for key in conditions[0]}
    batched = backbone.network_arguments(noisy, 300, both)
    for i, condition in enumerate(conditions):
        alone = backbone.network_arguments(noisy[i : i + 1], 300, condition)
        for argument in arguments:
            assert torch.equal(batched[argument][i : i + 1], alone[argument]), argument


@pytest.mark.parametrize("name", NAMES)
def test_taps_are_the_blocks_of_a_plain_forward_pass(name: str, loaded: Callable[[str], Backbone]) -> None:
    backbone = loaded(name)
    taps = [f"{place}_blocks[{i}]" for place in ("down", "up") for i in range(4)]
    assert list(backbone.taps) == [*taps[:4], "mid_block", *taps[4:]]
    noisy, condition = prepare(backbone, make_clip(backbone.clip_length, 64, 96))

    expected: dict[str, torch.Tensor] = {}
    unet = backbone.network
    places = {"mid_block": unet.get_submodule("mid_block")}
    places |= {tap: unet.get_submodule(tap.replace("[", ".").rstrip("]")) for tap in taps}

    def keep(tap: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
            expected[tap] = output if isinstance(output, torch.Tensor) else output[0]

        return hook

    handles = [module.register_forward_hook(keep(tap)) for tap, module in places.items()]
    with torch.inference_mode():
        unet(**backbone.network_arguments(noisy, 300, condition))
    for handle in handles:
        handle.remove()

    for stop_early in (True, False):
        features = backbone.features(noisy, 300, condition, list(backbone.taps), stop_early=stop_early)
        assert list(features) == list(backbone.taps)
        for tap, value in features.items():
            assert value.shape[:2] == noisy.shape[:2]
            assert torch.equal(value.flatten(0, 1), expected[tap])
    alone = backbone.features(noisy, 300, condition, [TAP])[TAP]
    assert torch.equal(alone.flatten(0, 1), expected[TAP])
    assert alone.shape[-2:] == (8, 12)  # the grid of the paper's tap is that of the latents


@pytest.mark.parametrize("name", NAMES)
def test_unknown_tap_lists_the_taps(name: str, loaded: Callable[[str], Backbone]) -> None:
    backbone = loaded(name)
    noisy, condition = prepare(backbone, make_clip(backbone.clip_length, 64, 64))
    with pytest.raises(ConfigError, match=r"up_blocks\[9\].*mid_block"):
        backbone.features(noisy, 300, condition, ["up_blocks[9]"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("timestep", [-1, 1000])
def test_timestep_outside_training_is_refused(name: str, timestep: int, loaded: Callable[[str], Backbone]) -> None:
    backbone = loaded(name)
    assert len(backbone.schedule) == 1000
    with pytest.raises(ConfigError, match="0 to 999"):
        backbone.schedule.perturb(torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), timestep)


@pytest.mark.parametrize("name", NAMES)
def test_features_do_not_depend_on_the_batch(name: str, loaded: Callable[[str], Backbone]) -> None:
    backbone = loaded(name)
    parts = [prepare(backbone, make_clip(backbone.clip_length, 64, 64, seed=i), seed=i) for i in range(3)]
    together = backbone.features(
        torch.cat([noisy for noisy, _ in parts]),
        300,
        {key: torch.cat([condition[key] for _, condition in parts]) for key in parts[0][1]},
        [TAP],
    )[TAP]
    for i, (noisy, condition) in enumerate(parts):
        alone = backbone.features(noisy, 300, condition, [TAP])[TAP]
        assert relative_change(together[i : i + 1], alone) < 1e-4
    assert relative_change(together[:1], together[1:2]) > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_frames_latents_do_not_depend_on_the_others(name: str, loaded: Callable[[str], Backbone]) -> None:
    backbone = loaded(name)
    frames = make_clip(3, 64, 64)
    latents = backbone.encode(frames)
    assert latents.dtype == torch.float32
    assert latents.shape == (3, 4, 8, 8)
    assert torch.equal(backbone.encode(frames[1:2]), latents[1:2])


@pytest.mark.parametrize("name", VIDEO)
def test_a_frames_feature_depends_on_the_other_frames(name: str, loaded: Callable[[str], Backbone]) -> None:
    backbone = loaded(name)
    noisy, condition = prepare(backbone, make_clip(backbone.clip_length, 64, 64))
    other = noisy.clone()
    other[:, 8] = seeded(noisy[:, 8].shape, seed=9)
    before = backbone.features(noisy, 300, condition, [TAP])[TAP]
    after = backbone.features(other, 300, condition, [TAP])[TAP]
    assert relative_change(after[:, 3], before[:, 3]) > 1e-3  # rounding is a thousand times less


def test_an_image_feature_depends_on_its_frame_and_noise_alone(loaded: Callable[[str], Backbone]) -> None:
    backbone = loaded("sd21")
    assert backbone.clip_length == 1
    frames = make_clip(3, 64, 64)
    noise = seeded((3, 4, 8, 8))

    def features(order: list[int]) -> torch.Tensor:
        noisy = backbone.schedule.perturb(backbone.encode(frames[order]), noise[order], 51)[:, None]
        return backbone.features(noisy, 51, backbone.condition(frames[:1], None, seeded), [TAP])[TAP]

    first, second = features([0, 1]), features([2, 0])
    assert relative_change(second[1], first[0]) < 1e-5
    assert relative_change(second[0], first[0]) > 0.1


@pytest.mark.parametrize("name", VIDEO)
def test_every_conditioning_tensor_reaches_the_features(name: str, loaded: Callable[[str], Backbone]) -> None:
    backbone = loaded(name)
    noisy, condition = prepare(backbone, make_clip(backbone.clip_length, 64, 64))
    assert all(value.shape[0] == 1 for value in condition.values())
    before = backbone.features(noisy, 300, condition, [TAP])[TAP]
    for key in condition:
        changed = {**condition, key: seeded(condition[key].shape, seed=5)}
        assert relative_change(backbone.features(noisy, 300, changed, [TAP])[TAP], before) > 1e-3, key


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("standins", [False, True])
def test_half_precision_agrees_with_single(name: str, standins: bool, small_folder: SmallFolders) -> None:
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        backbone = load_backbone(name, small_folder(name, standins=standins), device=CPU, dtype=dtype)
        noisy, condition = prepare(backbone, make_clip(min(2, backbone.clip_length), 64, 64))
        features = backbone.features(noisy, 300, condition, [TAP])[TAP]
        assert features.dtype == torch.float32
        results.append(features)
    assert 0 < relative_change(results[1], results[0]) < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_the_prediction_is_the_networks_output_laid_out_like_its_input(
    name: str, loaded: Callable[[str], Backbone]
) -> None:
    backbone = loaded(name)
    noisy, condition = prepare(backbone, make_clip(backbone.clip_length, 64, 96))
    assert backbone.prediction == "v_prediction"
    with torch.inference_mode():
        output = backbone.network(**backbone.network_arguments(noisy, 300, condition))[0]
    found = backbone.predict(noisy, 300, condition)
    assert found.shape == noisy.shape
    for frame in range(noisy.shape[1]):
        # (clip * frame, channel, y, x), (clip, frame, channel, y, x) and (clip, channel, frame, y, x).
        expected = {"sd21": lambda f: output[f], "svd": lambda f: output[0, f], "i2vgen-xl": lambda f: output[0, :, f]}
        assert torch.equal(found[0, frame], expected[name](frame))


@pytest.mark.parametrize("name", NAMES)
def test_strides_of_the_taps(name: str, loaded: Callable[[str], Backbone]) -> None:
    backbone = loaded(name)
    noisy, condition = prepare(backbone, make_clip(backbone.clip_length, 128, 192))
    taps = backbone.taps
    assert [taps[f"up_blocks[{i}]"].stride for i in range(4)] == [32, 16, 8, 8]
    for tap, value in backbone.features(noisy, 300, condition, list(taps)).items():
        assert value.shape[-2:] == (128 // taps[tap].stride, 192 // taps[tap].stride), tap
