"""Write and read affinity units, and name them by their digest."""

import hashlib
import json
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from ted.store import AffinitySpec, AffinityUnit, Cache, verify_unit
from ted.store.errors import (
    ConfigError,
    CorruptUnitError,
    SchemaError,
)

from ..conftest import assert_affinities_equal, write_affinities, write_unit
from ..unit_inputs import SEARCH, make_affinities, make_frames, make_spec


def test_what_is_written_is_read(cache: Cache, affinities: AffinityUnit) -> None:
    assert_affinities_equal(affinities)
    assert cache.state(affinities.spec) == "complete"
    (entry,) = cache.affinities()
    assert (entry.state, entry.bytes, entry.spec) == ("complete", affinities.marker.total_bytes, make_affinities())
    assert entry.open().content_hash == affinities.content_hash
    assert cache.affinities("davis", "swan") == cache.affinities("davis") == [entry]
    assert cache.affinities("davis", "dog") == cache.affinities("other") == []
    assert affinities.provenance["run"] == {"host": "here"}
    assert verify_unit(affinities.folder).state == "ok"


def test_features_do_not_list_affinities(cache: Cache, affinities: AffinityUnit) -> None:
    assert not cache.entries() + cache.units() + cache.videos() + list(cache.folders("features"))
    write_unit(cache, make_spec(), np.ones((5, 3, 4, 6), np.float16))
    assert len(cache.entries()) == len(cache.affinities()) == 1


def test_a_unit_can_be_sent_to_other_processes(affinities: AffinityUnit) -> None:
    affinities.read(1)
    assert_affinities_equal(pickle.loads(pickle.dumps(affinities)))


def test_a_copy_outside_of_a_cache_can_be_read(affinities: AffinityUnit, tmp_path: Path) -> None:
    shutil.copytree(affinities.folder, tmp_path / "copy")
    assert_affinities_equal(AffinityUnit(tmp_path / "copy"))


def test_zarr_and_xarray_open_a_unit_without_a_warning(cache: Cache, affinities: AffinityUnit) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xarray.open_zarr(affinities.folder, consolidated=False, zarr_format=3)
        video: Any = zarr.open_group(cache.root / "davis/swan.zarr", mode="r", zarr_format=3, use_consolidated=False)
        members = {path for path, _ in video.members(max_depth=None)}
    assert dataset["cosines"].dims == ("frame", "part", "pixel", "slot")
    assert dataset["bounds"].dims == ("frame", "fusion", "pixel")
    name = f"affinities/{affinities.folder.name}"
    assert members == {"affinities", name, *(f"{name}/{array}" for array in ("sources", "cosines", "bounds"))}
    sources, cosines, _ = make_frames(affinities.spec)[4]
    np.testing.assert_array_equal(dataset["sources"].values[4], sources)
    np.testing.assert_array_equal(dataset["cosines"].values[4], cosines)


def test_the_digest_is_of_what_determines_the_values() -> None:
    spec = make_affinities()
    values = {"features": list(spec.features), "frame_count": 5, "grid": [3, 4], "search": SEARCH}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert spec.digest() == hashlib.sha256(text.encode()).hexdigest()
    same = make_affinities(feature_labels=("x", "y"), slots=9, dataset="d", video="v")
    assert same.digest() == spec.digest()


def test_specs_survive_json() -> None:
    spec = make_affinities()
    values = json.loads(json.dumps(spec.to_json()))
    assert AffinitySpec.from_json(values, Path("x")) == spec
    with pytest.raises(SchemaError, match=r"format 2.*upgrade"):
        AffinitySpec.from_json(values | {"schema_version": 2}, Path("x"))
    with pytest.raises(CorruptUnitError, match="holds 'features' where affinities belong"):
        AffinitySpec.from_json(make_spec().to_json(), Path("x"))


@pytest.mark.parametrize(
    "changes",
    [
        {"slots": "4"}, {"slots": 0}, {"frame_count": 5.0}, {"grid": [3]}, {"grid": 3}, {"features": []},
        {"feature_labels": [1, 2]}, {"search": []}, {"search": {}}, {"search": SEARCH | {"fusions": []}},
        {"search": SEARCH | {"fusions": [1]}}, {"video": None},
    ],
)  # fmt: skip
def test_a_description_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="no readable description"):
        AffinitySpec.from_json(make_affinities().to_json() | changes, Path("x"))


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="slots"):
        make_affinities(slots=0)
    with pytest.raises(ConfigError, match="label"):
        make_affinities(feature_labels=("one",))


def test_removing_features_keeps_affinities_of_them(cache: Cache, affinities: AffinityUnit) -> None:
    features = write_unit(cache, make_spec(), np.ones((5, 3, 4, 6), np.float16))
    cache.remove(features.folder)
    assert_affinities_equal(affinities)
    assert (cache.root / "davis/swan.zarr/zarr.json").is_file()


def test_hostile_names_stay_inside_the_cache(cache: Cache, tmp_path: Path) -> None:
    before = {path for path in tmp_path.iterdir() if path != cache.root}
    names = ("../../x", "../up/../../and away", "*", "[0]", "a\nb", "affinities", ".hidden", "\udcff", "x" * 500)
    specs = [make_affinities(dataset=name, video=name, feature_labels=(name, "")) for name in names]
    for spec in specs:
        write_affinities(cache, spec)
    assert {path for path in tmp_path.iterdir() if path != cache.root} == before
    assert {entry.spec.video for entry in cache.affinities()} == set(names)
    for spec in specs:
        (entry,) = cache.affinities(spec.dataset, spec.video)
        assert entry.spec == spec
        assert verify_unit(entry.folder).state == "ok"
