"""Each codec against its definition, computed in float64 or by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.store import FeatureCodec, parse_codec
from ted.store.codecs import BitRound, Pca, check_components
from ted.store.errors import ConfigError

INT8 = parse_codec("int8")
PLAIN = {"channel_mean": np.zeros(4, np.float32), "channel_scale": np.ones(4, np.float32)}
LARGEST = np.float16(65504)
SMALLEST = np.float16(2**-24)


def features(seed: int = 0, outliers: float = 0.0) -> NDArray[np.float16]:
    """Random features (frame, y, x, channel) whose channels differ in size and mean; some have a large mean."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((3, 5, 6, 16)) * rng.uniform(0.1, 4, 16) + rng.standard_normal(16)
    values[..., :2] += outliers
    return values.astype(np.float16)


def unit_rows(values: NDArray[np.floating]) -> NDArray[np.float64]:
    rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def through(form: FeatureCodec, values: NDArray[np.float16]) -> NDArray[np.floating]:
    parameters = form.fit(values)
    return form.decode(form.encode(values, parameters), parameters)


def test_int8_by_hand() -> None:
    values = np.array([[127, -64, 1, 0], [0, 0, 0, 0], [3, 3, 3, 3], [0, 0, -1000, 1]], np.float16)
    stored = INT8.encode(values, PLAIN)
    np.testing.assert_array_equal(
        stored["features"], [[127, -64, 1, 0], [0, 0, 0, 0], [127, 127, 127, 127], [0, 0, -127, 0]]
    )
    np.testing.assert_allclose(stored["scale"], [1, 0, 3 / 127, 1000 / 127], rtol=1e-6)
    np.testing.assert_allclose(INT8.decode(stored, PLAIN)[:3], values[:3], rtol=1e-6)


def test_int8_takes_the_channels_mean_and_scale_out() -> None:
    parameters = {"channel_mean": np.float32([100, 0, 0, 0]), "channel_scale": np.float32([1, 2, 1, 1])}
    values = np.array([[101, 2, 0.5, -1], [100, 0, 0, 0], [0, 0, 0, 0]], np.float16)
    stored = INT8.encode(values, parameters)
    np.testing.assert_array_equal(stored["features"], [[127, 127, 64, -127], [0, 0, 0, 0], [0, 0, 0, 0]])
    decoded = INT8.decode(stored, parameters)
    np.testing.assert_array_equal(decoded[1:], values[1:])  # the mean itself, and the vector of zeros, are exact
    np.testing.assert_allclose(decoded[0], [101, 2, 64 / 127, -1], rtol=1e-6)


@pytest.mark.parametrize("outliers", [0.0, 100.0, 20000.0])
def test_int8_is_within_half_a_step_of_its_definition(outliers: float) -> None:
    values = features(1, outliers)
    parameters = INT8.fit(values)
    pixels = values.astype(np.float64).reshape(-1, 16)
    np.testing.assert_allclose(parameters["channel_mean"], pixels.mean(0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(parameters["channel_scale"], np.sqrt(pixels.std(0)), rtol=1e-5)
    stored = INT8.encode(values, parameters)
    assert stored["features"].dtype == np.int8
    assert np.abs(stored["features"]).max() == 127
    steps = stored["scale"][..., None] * parameters["channel_scale"]
    error = np.abs(INT8.decode(stored, parameters).astype(np.float64) - values)
    assert (error <= 0.501 * steps + 1e-6 * np.abs(values)).all()


def test_means_of_channels_do_not_coarsen_int8() -> None:
    """Outlier channels resemble large constants; a scale without a mean would waste its steps on them."""
    plain = {"channel_mean": np.zeros(16, np.float32), "channel_scale": np.ones(16, np.float32)}
    values = features(2, outliers=100.0)
    before = unit_rows(values)
    cosines = before @ before.T
    errors = []
    for parameters in (INT8.fit(values), plain):
        after = unit_rows(INT8.decode(INT8.encode(values, parameters), parameters))
        errors.append(np.abs(after @ after.T - cosines).mean())
    assert errors[0] < errors[1] / 10, errors


@pytest.mark.parametrize("value", [0.0, SMALLEST, -SMALLEST, 1.0, LARGEST, -LARGEST])
@pytest.mark.parametrize("name", ["float16", "int8", "bitround10", "bitround1", "pca1", "pca16"])
def test_constant_features(name: str, value: np.float16) -> None:
    values = np.full((2, 3, 4, 16), value, np.float16)
    form = parse_codec(name)
    if isinstance(form, Pca) and abs(value) == LARGEST:
        assert np.isinf(form.encode(values, form.fit(values))["features"]).any()  # writers refuse infinite values
        return
    decoded = through(form, values)
    assert np.isfinite(decoded).all()
    if isinstance(form, Pca):
        np.testing.assert_allclose(np.linalg.norm(decoded.astype(float), axis=-1), 4 * abs(float(value)), rtol=1e-3)
    else:
        kept = getattr(form, "bits", 10)  # of the smallest numbers, bitround keeps the upper bits, which may be none
        rtol, atol = (0.25, 2.0 ** -(14 + kept)) if kept < 10 else (1e-7, 0.0)
        np.testing.assert_allclose(decoded.astype(float), float(value), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", ["int8", "bitround5", "pca4"])
def test_vectors_of_zeros_stay_zero(name: str) -> None:
    values = features(3, outliers=50.0)
    values[1, 2, 3] = 0
    decoded = through(parse_codec(name), values)
    assert not decoded[1, 2, 3].any()
    assert decoded[1, 2, 4].any()


def test_one_outlier_among_tiny_values_survives() -> None:
    values = np.zeros((1, 2, 2, 16), np.float16) + SMALLEST
    values[0, 1, 1, 7] = LARGEST
    decoded = through(INT8, values)
    assert decoded[0, 1, 1, 7] == pytest.approx(65504, rel=0.01)
    assert np.isfinite(decoded).all()


@pytest.mark.parametrize("bits", range(1, 11))
def test_bitround_keeps_so_many_bits_of_the_mantissa(bits: int) -> None:
    values = features(4)
    values[0, 0, 0, :4] = [LARGEST, -LARGEST, SMALLEST, 0]
    rounded = through(BitRound(bits=bits), values)
    assert rounded.dtype == np.float16
    assert not (rounded.view(np.uint16) & (2 ** (10 - bits) - 1)).any()
    assert np.isfinite(rounded).all()
    normal = np.abs(values) >= 2.0**-14
    error = np.abs(rounded.astype(np.float64) - values)[normal] / np.abs(values.astype(np.float64))[normal]
    largest = np.abs(values[normal]) == LARGEST
    assert error[~largest].max() <= 2.0 ** -(bits + 1)
    assert error[largest].max() <= 2.0**-bits  # rounded down, where others round up to infinity


def test_components_are_the_leading_eigenvectors_of_the_second_moment() -> None:
    values = features(5, outliers=10.0)
    components = parse_codec("pca:5").fit(iter(values))["components"]
    assert components.dtype == np.float32
    np.testing.assert_allclose(components @ components.T, np.eye(5), atol=1e-6)
    _, _, rows = np.linalg.svd(values.reshape(-1, 16).astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs(np.sum(rows[:5] * components, axis=1)), 1, atol=1e-6)
    assert (components[np.arange(5), np.abs(components).argmax(1)] > 0).all()


def test_components_of_all_channels_keep_every_cosine() -> None:
    values = features(6)
    before, after = unit_rows(values), unit_rows(through(parse_codec("pca:16"), values))
    np.testing.assert_allclose(after @ after.T, before @ before.T, atol=2e-3)


def test_more_components_than_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="more components"):
        parse_codec("pca:17").fit(features())
    with pytest.raises(ConfigError, match="more components"):
        parse_codec("pca:17").check(16)
    parse_codec("pca:16").check(16)


@pytest.mark.parametrize(
    "components",
    [np.ones((2, 4)), 2 * np.eye(3), np.eye(4)[:0], np.ones(4), np.eye(5)[:, :4], np.full((1, 4), np.nan)],
)
def test_what_is_no_orthonormal_basis_is_refused(components: NDArray[np.float64]) -> None:
    with pytest.raises(ConfigError, match="components must be"):
        check_components(components)


def test_forms_without_parameters_read_nothing_to_fit() -> None:
    def frames() -> NDArray[np.float16]:
        raise AssertionError

    assert parse_codec("bitround:3").fit(frames() for _ in range(1)) == {}
