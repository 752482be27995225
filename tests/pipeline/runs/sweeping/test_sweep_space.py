"""The notation of a sweep's lists, and the settings that they make."""

import pytest

from ted.pipeline.choices.presets import get_preset
from ted.pipeline.runs.sweeping.notation import parse_features, parse_integers, parse_numbers
from ted.pipeline.runs.sweeping.request import make_space, preset_setting, space_options
from ted.pipeline.runs.sweeping.space import Setting, SweepSpace
from ted.store import FeatureChoice
from ted.store.errors import ConfigError

NOTHING: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("video_features", "image_features", "alpha", "temperature", "top_k", "radius", "context"), ()
)
LISTS = {
    "video_features": ("i2vgen-xl:300,600:up_blocks[1],up_blocks[2]",),
    "image_features": ("adm:51:output_blocks[7]", "sd21:51:up_blocks[2]"),
    "alpha": ("0:1:0.5",),
    "temperature": ("0.1,0.2",),
}


def space(**lists: tuple[str, ...]) -> SweepSpace:
    return make_space(NOTHING | lists, get_preset("davis-efficient"), renormalize=True)


def test_ranges_hold_both_ends_and_the_decimals_that_are_written() -> None:
    assert parse_numbers("alpha", ["0:1:0.1"]) == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
    assert parse_numbers("alpha", ["0.1:0.5:0.15"]) == (0.1, 0.25, 0.4)  # the end only where a step reaches it
    assert parse_numbers("alpha", ["2:2:1"]) == (2,)
    assert parse_integers("top_k", ["5:20:5", "1:3"]) == (5, 10, 15, 20, 1, 2, 3)


def test_lists_keep_their_order_and_drop_repetitions() -> None:
    assert parse_numbers("alpha", ["0.4, 0,1", "0:1:0.5", "1e-1", "1.0"]) == (0.4, 0, 1, 0.5, 0.1)
    assert parse_integers("radius", ["15,3", "3.0"]) == (15, 3)
    assert parse_numbers("alpha", []) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no number"),
        ("0,,1", "no number"),
        ("a", "'a' is no number"),
        ("nan", "no number"),
        ("inf", "no number"),
        ("0:1", "is not START:STOP:STEP"),
        ("0:1:2:3", "is not START:STOP:STEP"),
        ("0:1:0", "holds no value"),
        ("1:0:0.1", "holds no value"),
        ("0:1:0.000001", "1000001 values"),
    ],
)
def test_wrong_lists_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_numbers("alpha", [text])


def test_whole_numbers_are_whole() -> None:
    with pytest.raises(ConfigError, match=r"top_k takes whole numbers, not 2\.5"):
        parse_integers("top_k", ["2.5"])


def test_features_are_all_combinations_of_timesteps_and_taps() -> None:
    found = parse_features(["a:1,2:x,y", "b@0f:3:z", "a:2:y"])
    assert [str(choice) for choice in found] == ["a:1:x", "a:1:y", "a:2:x", "a:2:y", "b@0f:3:z"]
    for wrong in ("a:1", "a:x:y", "a:1:x,", ""):
        with pytest.raises(ConfigError):
            parse_features([wrong])


def test_a_preset_fills_in_what_is_not_given() -> None:
    (setting,) = space().settings()
    assert setting == preset_setting(get_preset("davis-efficient"))
    assert (setting.alpha, setting.propagation.top_k, setting.propagation.context) == (0.4, 10, 28)


def test_settings_are_all_combinations_without_what_alpha_leaves_out() -> None:
    settings = space(**LISTS).settings()
    # alpha 0: 2 image features; alpha 1: 4 video features; between: 8 pairs; 2 temperatures each.
    assert len(settings) == len(set(settings)) == 2 * (2 + 4 + 8)
    for setting in settings:
        assert (setting.feature("video") is None) == (setting.alpha == 0)
        assert (setting.feature("image") is None) == (setting.alpha == 1)
    half = next(item for item in settings if item.alpha == 0.5)
    assert [weight for _, weight in half.parts] == [0.5, 0.5]
    assert half.options == (
        "--video-feature 'i2vgen-xl:300:up_blocks[1]' --image-feature 'adm:51:output_blocks[7]' --alpha 0.5 "
        "--temperature 0.1 --top-k 10 --radius 15 --context 28"
    )


def test_parts_have_weights_of_their_own() -> None:
    texts = ("rgb:0:stride4,stride8=0,1", "position:0:stride8=0:0.5:0.25", "adm:51:output_blocks[7]=0")
    wanted = space(features=texts, radius=("3",))
    settings = wanted.settings()
    # Weights: all but three zeros; without the first part, its two taps are one setting.
    assert len(settings) == len(set(settings)) == 2 + 2 * 3
    assert {len(setting.parts) for setting in settings} == {1, 2}
    fused = next(item for item in settings if item.weights == (1, 0.5, 0))
    assert [str(choice) for choice, _ in fused.parts] == ["rgb:0:stride4", "position:0:stride8"]
    assert fused.options.startswith("--feature rgb:0:stride4=1.0 --feature position:0:stride8=0.5 --temperature 0.2")
    assert (fused.columns["part1_weight"], fused.columns["part3_feature"]) == (1, "")
    for setting in settings:
        assert Setting.from_columns({name: str(value) for name, value in setting.columns.items()}) == setting
    options = space_options(wanted)
    again = make_space(
        NOTHING | {"features": options["feature"], "radius": ("3",)}, get_preset("davis-efficient"), renormalize=True
    )
    assert again == wanted
    with pytest.raises(ConfigError, match="leave out --alpha"):
        space(features=texts, alpha=("0.5",))
    with pytest.raises(ConfigError, match="is not FEATURES=WEIGHTS"):
        space(features=("rgb:0:stride4",))


def test_an_alpha_that_weighs_no_feature_is_refused() -> None:
    preset = get_preset("dift-adm")
    (setting,) = make_space(NOTHING, preset, renormalize=False).settings()
    assert setting.features == (None, FeatureChoice(backbone="adm", timestep=51, tap="output_blocks[7]"))
    assert setting.options.endswith("--no-renormalize")
    with pytest.raises(ConfigError, match=r"alpha 0\.5 gives weight 0\.5 to the video feature, but none is named"):
        make_space(NOTHING | {"alpha": ("0,0.5",)}, preset, renormalize=True)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("alpha", "1.5", "alpha must lie"),
        ("temperature", "0", "temperature"),
        ("top_k", "0", "top_k"),
        ("radius", "-1", "radius"),
    ],
)
def test_values_out_of_range_are_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space(**{name: (text,)})


def test_options_mean_the_space() -> None:
    wanted = space(**LISTS)
    options = space_options(wanted)
    renormalize = options.pop("renormalize")
    lists = {f"{name}s" if name.endswith("feature") else name: list(map(str, items)) for name, items in options.items()}
    assert make_space(lists, get_preset("dift-sd"), renormalize=renormalize) == wanted
