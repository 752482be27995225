from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.pipelines.deprecated.i2vgen_xl import pipeline_i2vgen_xl
from transformers import CLIPTextModel, CLIPTokenizer

from ted.extract.backbones.i2vgen_xl import centre_square, load
from tests.extract.small_folders import SmallFolders, make_clip
from tests.references.pipeline_arguments import as_image, assert_same_arguments, recorded_arguments

CPU = torch.device("cpu")
NAME = "i2vgen-xl"


def no_noise(shape: Sequence[int]) -> torch.Tensor:
    raise AssertionError("this conditioning needs no noise")


@pytest.fixture(scope="module")
def pipeline(small_folder: SmallFolders) -> Any:
    made = pipeline_i2vgen_xl.I2VGenXLPipeline.from_pretrained(small_folder(NAME))
    if not hasattr(made.text_encoder, "text_model"):
        # transformers 5 moved the text model's layers up; this pipeline looks for them where they were.
        made.text_encoder.__dict__["text_model"] = made.text_encoder
    return made


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 64)])
def test_arguments_are_the_pipelines(
    size: tuple[int, int],
    pipeline: Any,
    small_folder: SmallFolders,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = load(small_folder(NAME), device=CPU, dtype=torch.float32)
    assert backbone.clip_length == 16
    clip = make_clip(16, *size)
    latents = backbone.encode(clip)
    noisy = backbone.schedule.perturb(
        latents, torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)), 501
    )
    ours = backbone.network_arguments(noisy[None], 501, backbone.condition(clip, clip[:1], no_noise))

    # The choice made here: the mode of the posterior where the pipeline samples it.
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda posterior: posterior.mode())
    theirs = recorded_arguments(
        pipeline,
        prompt="",
        image=as_image(clip[0]),
        height=size[0],
        width=size[1],
        num_frames=16,
        num_inference_steps=2,  # the first step is at timestep 501
        guidance_scale=1.0,
        latents=noisy.transpose(0, 1)[None],
    )
    assert_same_arguments(ours, theirs)
    assert int(ours["timestep"]) == 501
    assert ours["fps"].tolist() == [16]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_positions_are_rounded_once(dtype: torch.dtype, small_folder: SmallFolders) -> None:
    backbone = load(small_folder(NAME, standins=True), device=CPU, dtype=dtype)
    clip = make_clip(16, 64, 64)
    planes = backbone.condition(clip, clip[:1], no_noise)["image_latents"][0, :, 1:]
    expected = torch.tensor([frame / 15 for frame in range(1, 16)], dtype=dtype)  # as in the pipeline
    assert torch.equal(planes, expected[None, :, None, None].expand_as(planes))


@pytest.mark.parametrize("size", [(480, 832), (480, 640), (480, 864), (832, 480), (480, 480), (64, 96), (352, 640)])
def test_centre_square_is_the_pipelines(size: tuple[int, int]) -> None:
    frame = make_clip(1, *size)[0]
    cropped = pipeline_i2vgen_xl._center_crop_wide(as_image(frame), (size[1], size[1]))
    expected = as_image(centre_square(frame, (224, 200)) * 2 - 1)
    assert pipeline_i2vgen_xl._resize_bilinear(cropped, (200, 224)).tobytes() == expected.tobytes()


def test_text_states_are_the_last_layer_but_one_of_a_padded_empty_prompt(small_folder: SmallFolders) -> None:
    folder = small_folder(NAME)
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokens = torch.tensor([[begin, end, *[0] * 75]])  # "!", the first word, is the published models' padding
    layers = []
    text_model = getattr(encoder, "text_model", encoder)
    text_model.encoder.layers[-2].register_forward_hook(
        lambda _module, _args, output: layers.append(output if isinstance(output, torch.Tensor) else output[0])
    )
    with torch.no_grad():
        encoder(tokens)
        expected = text_model.final_layer_norm(layers[0])
    backbone = load(folder, device=CPU, dtype=torch.float32)
    torch.testing.assert_close(backbone.text_states, expected, rtol=1e-5, atol=1e-5)


def test_noise_is_the_schedulers(small_folder: SmallFolders) -> None:
    folder = small_folder(NAME)
    backbone = load(folder, device=CPU, dtype=torch.float32)
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 16, 4, 8, 8, generator=generator)
    for timestep in (0, 51, 300, 600, 900, 999):
        expected = scheduler.add_noise(clean, noise, torch.tensor([timestep]))
        torch.testing.assert_close(backbone.schedule.perturb(clean, noise, timestep), expected, rtol=1e-6, atol=1e-6)
    # What the published configuration amounts to, and its zero terminal signal-to-noise ratio.
    published = {300: 0.786, 600: 0.339, 900: 0.024, 999: 0.0}
    for timestep, abar in published.items():
        assert float(backbone.schedule.alpha_bar(timestep)) == pytest.approx(abar, abs=5e-4)
    assert torch.equal(backbone.schedule.perturb(clean, noise, 999), noise)
