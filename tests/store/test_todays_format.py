"""Open, read and resume a small cache from the version before the registries of codecs and artifacts.

``data/format-1`` holds 3 frames of 3x4 cells and 8 channels, stored as float16, int8, pca4 and bitround7; a float16
unit of another seed with frame 1 of 3; and affinities of the float16 features. ``data/format-1-expected.npz`` holds the
features, and the labels that the earlier version propagated from each codec's unit.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ted.propagate import (
    CachedAffinities,
    PropagationSettings,
    TrackingSession,
    WeightedSettings,
    cache_affinities,
    propagate,
)
from ted.store import AffinityUnit, Cache, FeatureChoice, Unit, copy_unit, open_cache, verify_unit
from ted.store.codecs import parse_codec

DATA = Path(__file__).with_name("data")
FORMS = ("float16", "int8", "pca4", "bitround7")
SETTINGS = PropagationSettings(temperature=0.1, top_k=3, radius=2, context=2)
EXPECTED = np.load(DATA / "format-1-expected.npz")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    shutil.copytree(DATA / "format-1", tmp_path / "cache")
    return open_cache(tmp_path / "cache")


def find(cache: Cache, form: str) -> Unit:
    return next(entry.open() for entry in cache.entries() if entry.spec.form == form and entry.state == "complete")


def first_label() -> torch.Tensor:
    label = torch.zeros(2, 3, 4)
    label[0, :, :2] = 1
    label[1, :, 2:] = 1
    return label


def test_all_units_are_listed_and_whole(cache: Cache) -> None:
    found = {(entry.spec.form, entry.spec.request.seed): entry.state for entry in cache.entries()}
    assert found == {(form, 0): "complete" for form in FORMS} | {("float16", 1): "incomplete"}
    folders = [*cache.folders("features"), *cache.folders("affinities")]
    assert [verify_unit(folder).state for folder in folders].count("ok") == 5
    choice = FeatureChoice(backbone="adm", timestep=51, tap="up_blocks[2]", digest=find(cache, "int8").spec.digest())
    assert cache.find("davis", "swan", choice).spec.form == "float16"


def test_their_hashes_are_as_ever(cache: Cache) -> None:
    unit = find(cache, "float16")
    assert unit.spec.to_json()["alpha_bar"] == 0.25
    assert {find(cache, form).spec.source for form in FORMS[1:]} == {unit.content_hash}
    assert cache.affinities()[0].spec.features == (unit.content_hash,)


@pytest.mark.parametrize("form", FORMS)
def test_features_are_decoded_as_they_were(cache: Cache, form: str) -> None:
    unit = find(cache, form)
    values = EXPECTED["values"]
    if form == "float16":
        np.testing.assert_array_equal(unit.features.compute(), values)
    codec = parse_codec(form)
    encoded = codec.encode(values, codec.fit(iter(values)))
    np.testing.assert_allclose(
        unit.features.compute(), codec.decode(encoded, codec.fit(iter(values))), rtol=1e-3, atol=1e-3
    )
    tolerance = {"float16": 0, "bitround7": 0.02, "int8": 0.05, "pca4": 2.5}[form]
    np.testing.assert_allclose(unit.reconstruction.compute(), values, atol=tolerance)


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_propagated_as_they_were(cache: Cache, form: str) -> None:
    steps = list(propagate([(find(cache, form), 1.0)], first_label(), SETTINGS))
    labels = np.stack([label.numpy() for frame, label in steps if frame])
    np.testing.assert_allclose(labels, EXPECTED[form], atol=1e-6)


def test_affinities_serve_without_their_features(cache: Cache) -> None:
    folder = cache.affinities()[0].folder
    for form in FORMS:
        cache.remove(find(cache, form).folder)
    cached = CachedAffinities(AffinityUnit(folder))
    session = TrackingSession(cached, WeightedSettings(weights=(1.0,), settings=SETTINGS), first_label())
    labels = np.stack([label.numpy() for frame, label in session.labels() if frame])
    np.testing.assert_allclose(labels, EXPECTED["float16"], atol=1e-6)


def test_the_search_finds_its_affinities_there(cache: Cache) -> None:
    (entry,) = cache.affinities()
    again = cache_affinities(cache, [find(cache, "float16")], CachedAffinities(entry.open()).search)
    assert again.unit.folder == entry.folder
    assert again.unit.content_hash == entry.open().content_hash
    assert len(cache.affinities()) == 1


def test_the_interrupted_unit_is_resumed(cache: Cache) -> None:
    (entry,) = [entry for entry in cache.entries() if entry.state == "incomplete"]
    with cache.writer(entry.spec) as writer:
        assert writer.done == {1}
        for frame in (0, 2):
            writer.write(frame, EXPECTED["values"][frame])
        writer.finish({"host": "here"})
    np.testing.assert_array_equal(Unit(entry.folder).features.compute(), EXPECTED["values"])


@pytest.mark.parametrize("form", FORMS)
def test_units_written_now_equal_those_written_then(cache: Cache, tmp_path: Path, form: str) -> None:
    there = open_cache(tmp_path / "there", create=True)
    unit = find(cache, form)
    with there.writer(unit.spec) as writer:
        if unit.parameters:
            writer.set_parameters(unit.parameters)
        for frame, values in enumerate(EXPECTED["values"]):
            writer.write(frame, values)
        writer.finish({"host": "here"})
    assert copy_unit(unit.folder, there.root).state == "present"  # the content hashes are equal
