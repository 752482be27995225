"""A plug-in's per-video artifact, offered by one entry point, in the store and the commands."""

import dataclasses
import json
import shutil
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from numpy.typing import NDArray

from ted.store import (
    ArrayLayout,
    Artifact,
    ArtifactKind,
    ArtifactSpec,
    Cache,
    UnitSpec,
    copy_unit,
    demote,
    open_cache,
    open_unit,
    plugins,
    verify_unit,
)
from ted.store.artifacts import registry
from ted.store.errors import (
    CacheError,
    ClaimedError,
    ConfigError,
    CorruptUnitError,
    Hint,
    IncompleteUnitError,
    SchemaError,
)
from tests.pipeline.conftest import Cli

from ..conftest import damage_chunk, raises_with_hint, write_unit
from ..test_writer import tree
from ..unit_inputs import make_spec

PROTOTYPE = ArtifactKind(
    name="prototype",
    arrays=(
        ArrayLayout(name="embedding", dimensions=("prototype", "channel"), dtype="float32"),
        ArrayLayout(name="weights", dimensions=("frame", "prototype"), dtype="float16", compressor="zstd"),
    ),
    maker="training",
)

#: A kind whose arrays have no frame axis.
HEAD = ArtifactKind(name="head", arrays=(ArrayLayout(name="matrix", dimensions=("out", "in"), dtype="int32"),))


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate an installed package that offers both kinds."""
    offers = [EntryPoint(kind, f"{__name__}:{kind.upper()}", "ted.artifacts") for kind in ("prototype", "head")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: offers if group == "ted.artifacts" else [])
    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))


def make_prototype(**changes: Any) -> ArtifactSpec:
    values: dict[str, Any] = {
        "kind": "prototype",
        "dataset": "davis",
        "video": "swan",
        "request": {"frames": "f" * 64, "steps": 200, "weights": "sha256:00"},
        "sizes": {"prototype": 2, "channel": 5, "frame": 4},
    }
    return ArtifactSpec(**(values | changes))


def arrays(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, 5)).astype(np.float32), rng.standard_normal((4, 2)).astype(np.float16)


def write_prototype(cache: Cache, spec: ArtifactSpec, seed: int = 0) -> Artifact:
    embedding, weights = arrays(seed)
    with cache.artifact_writer(spec) as writer:
        writer.write_shared({"embedding": embedding})
        for frame, row in enumerate(weights):
            writer.write(frame, {"weights": row})
        writer.finish({"host": "here"})
    return Artifact(spec.folder(cache.root))


def test_written_listed_and_read(cache: Cache) -> None:
    spec = make_prototype()
    stored = write_prototype(cache, spec)
    embedding, weights = arrays()
    np.testing.assert_array_equal(stored["embedding"][...], embedding)
    np.testing.assert_array_equal(stored["weights"][2], weights[2])
    assert stored.folder == cache.root / "davis/swan.zarr/prototype" / spec.digest()[:8]
    assert cache.state(spec) == "complete"
    (entry,) = cache.artifacts("prototype")
    assert (entry.spec, entry.state, entry.open().content_hash) == (spec, "complete", stored.content_hash)
    assert cache.artifacts("prototype", "davis", "dog") == cache.artifacts("head") == []
    assert cache.entries() == cache.affinities() == []
    assert isinstance(open_unit(stored.folder), Artifact)
    assert verify_unit(stored.folder).state == "ok"
    assert stored.provenance["request"]["steps"] == 200
    dataset = xarray.open_zarr(stored.folder, consolidated=False, zarr_format=3).load()
    np.testing.assert_array_equal(dataset["embedding"], embedding)


def test_arrays_without_frames(cache: Cache) -> None:
    spec = ArtifactSpec(kind="head", dataset="davis", video="swan", sizes={"out": 2, "in": 3})
    matrix = np.arange(6).reshape(2, 3)
    with pytest.raises(IncompleteUnitError, match="lacks its arrays"), cache.artifact_writer(spec) as writer:
        writer.finish({})
    with cache.artifact_writer(spec) as writer:
        writer.write_shared({"matrix": matrix})
        writer.commit()
    assert cache.state(spec) == "incomplete"
    with cache.artifact_writer(spec) as writer:  # resumed: nothing is left to write
        writer.finish({})
    np.testing.assert_array_equal(Artifact(spec.folder(cache.root))["matrix"][...], matrix)
    assert verify_unit(spec.folder(cache.root)).state == "ok"


def test_an_interrupted_writer_is_resumed_and_one_writes_at_a_time(cache: Cache) -> None:
    spec = make_prototype()
    embedding, weights = arrays()
    with cache.artifact_writer(spec) as writer:
        with pytest.raises(CacheError, match="write_shared"):
            writer.write(0, {"weights": weights[0]})
        writer.write_shared({"embedding": embedding})
        writer.write(3, {"weights": weights[3]})
        writer.commit()
        with pytest.raises(ClaimedError), cache.artifact_writer(spec):
            pass
    with raises_with_hint(IncompleteUnitError, Hint("resume", {"maker": "training"})):
        Artifact(spec.folder(cache.root))
    with cache.artifact_writer(spec) as writer:
        assert writer.done == {3}
        for frame in range(3):
            writer.write(frame, {"weights": weights[frame]})
        writer.finish({"host": "here"})
    other = open_cache(cache.root / "../other", create=True)
    write_prototype(other, spec)
    assert tree(cache.root) == tree(other.root)
    with raises_with_hint(CacheError, Hint("overwrite")), cache.artifact_writer(spec):
        pass


@pytest.mark.parametrize(
    ("key", "damage"), [("weights/c/3/0", "flip"), ("weights/c/3/0", "delete"), ("embedding/c/0/0", "truncate")]
)
def test_damage_is_found_refused_and_repaired(cache: Cache, key: str, damage: str) -> None:
    stored = write_prototype(cache, make_prototype())
    before = tree(cache.root)
    damage_chunk(stored.folder, key, damage)
    with raises_with_hint(CorruptUnitError, Hint("repair", {"maker": "training"})):
        stored[key.split("/")[0]][...]
    assert verify_unit(stored.folder).state == "damaged"
    demote(stored.folder)
    embedding, weights = arrays()
    with cache.artifact_writer(stored.spec) as writer:
        assert writer.done == ({0, 1, 2} if key.startswith("weights") else set())
        if key.startswith("embedding"):
            writer.write_shared({"embedding": embedding})
        for frame in set(range(4)) - writer.done:
            writer.write(frame, {"weights": weights[frame]})
        writer.finish({"host": "here"})
    assert tree(cache.root) == before


def test_copied_and_removed(cache: Cache, tmp_path: Path) -> None:
    stored = write_prototype(cache, make_prototype())
    there = open_cache(tmp_path / "there", create=True)
    assert copy_unit(stored.folder, there.root).state == "copied"
    assert copy_unit(stored.folder, there.root).state == "present"
    assert tree(there.root) == tree(cache.root)
    cache.remove(stored.folder)
    assert list(cache.root.iterdir()) == []


def test_its_hash_enters_the_request_of_features_made_with_it(
    cache: Cache, values: NDArray[np.float16], tmp_path: Path
) -> None:
    def features_with(prototype: Artifact) -> UnitSpec:
        plain = make_spec()
        conditioning = {"artifacts": {prototype.spec.kind: prototype.content_hash}}
        return dataclasses.replace(plain, request=dataclasses.replace(plain.request, conditioning=conditioning))

    specs = [features_with(write_prototype(cache, make_prototype(request={"seed": seed}), seed)) for seed in (0, 1)]
    units = [write_unit(cache, spec, values) for spec in (make_spec(), *specs)]
    assert len({unit.folder for unit in units}) == 3
    again = features_with(
        write_prototype(open_cache(tmp_path / "b", create=True), make_prototype(request={"seed": 1}), 1)
    )
    assert again == units[2].spec  # learning the same prototype again gives the same features
    recorded = json.loads((units[1].folder / "zarr.json").read_text())["attributes"]["ted"]["request"]
    assert recorded["conditioning"]["artifacts"] == {
        "prototype": cache.artifacts("prototype")[0].open().content_hash
    } or (recorded["conditioning"]["artifacts"] == {"prototype": cache.artifacts("prototype")[1].open().content_hash})


def test_through_the_commands(cli: Cli, cache: Cache, values: NDArray[np.float16], tmp_path: Path) -> None:
    write_unit(cache, make_spec(), values)
    stored = write_prototype(cache, make_prototype())
    write_prototype(cache, make_prototype(video="dog"))
    common = ("--cache", cache.root)
    listed = json.loads(cli("cache", "ls", "--json", *common).out)
    assert [row["kind"] for row in listed] == ["features", "prototype", "prototype"]
    assert listed[2]["artifact"] == f"prototype@{stored.spec.digest()[:8]}"
    assert "embedding 2x5, weights 4x2" in cli("cache", "ls", "--kind", "prototype", *common).out
    assert "2 units, 2 complete" in cli("cache", "ls", "--kind", "prototype", *common).out
    assert "steps: 200" in cli("cache", "info", "--kind", "prototype", "--video", "dog", *common).out
    damage_chunk(stored.folder, "weights/c/3/0", "flip")
    failed = cli("cache", "verify", *common)
    assert failed.code == 1
    assert "3 units: 2 ok, 1 damaged, 0 incomplete" in failed.out
    assert "then the same command again" in failed.err
    assert cli("cache", "verify", "--repair", "--kind", "prototype", *common).code == 0
    with cache.artifact_writer(stored.spec) as writer:
        writer.write(3, {"weights": arrays()[1][3]})
        writer.finish({})
    there = tmp_path / "there"
    assert "2 copied" in cli("cache", "copy", there, "--kind", "prototype", *common).out
    assert "1 copied, 2 there already" in cli("cache", "merge", cache.root, "--cache", there).out
    removed = json.loads(cli("cache", "rm", "--kind", "prototype", "--video", "swan", "--yes", "--json", *common).out)
    assert removed["removed"] == [str(stored.folder)]
    assert [entry.spec.video for entry in cache.artifacts("prototype")] == ["dog"]
    assert cli("cache", "ls", "--kind", "prototype", "--backbone", "adm", *common).code == 2
    assert cli("cache", "ls", "--kind", "tocken", *common).code == 1


def test_values_and_shapes_that_do_not_fit_are_refused(cache: Cache) -> None:
    embedding, _ = arrays()
    with cache.artifact_writer(make_prototype()) as writer:
        with pytest.raises(CacheError, match="shapes"):
            writer.write_shared({"embedding": embedding[:1]})
        with pytest.raises(CacheError, match="shapes"):
            writer.write_shared({"embeding": embedding})
        with pytest.raises(CacheError, match="float32 cannot hold"):
            writer.write_shared({"embedding": embedding.astype(np.float64) * 1e300})
        writer.write_shared({"embedding": embedding})
        with pytest.raises(CacheError, match="no frame 4"):
            writer.write(4, {"weights": np.zeros(2)})
    with pytest.raises(ConfigError, match="axes"):
        make_prototype(sizes={"prototype": 2, "channel": 5})


def test_a_kind_that_is_not_installed_is_refused_and_left_alone(
    cli: Cli, cache: Cache, values: NDArray[np.float16], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_unit(cache, make_spec(), values)
    folder = write_prototype(cache, make_prototype()).folder
    before = tree(cache.root)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])
    registry._KINDS.pop("prototype")
    assert len(cache.entries()) == 1
    assert cache.unknown_kinds() == {"prototype": 1}
    for command in (("ls",), ("verify",), ("copy", tmp_path / "there")):
        result = cli("cache", *command, "--cache", cache.root)
        assert result.code == 0
        assert "left out: 1 unit of the kind prototype; install the plug-in" in result.err
    assert "install the plug-in" in verify_unit(folder).problems[0]
    for action in (open_unit, demote, cache.remove):
        with pytest.raises(SchemaError, match="'prototype' are unknown here: install the plug-in"):
            action(folder)
    assert tree(cache.root) == before


def test_another_unit_in_its_folder_is_refused(cache: Cache) -> None:
    stored = write_prototype(cache, make_prototype())
    moved = stored.folder.parent.parent / "head" / stored.folder.name
    shutil.copytree(stored.folder, moved)
    with pytest.raises((CorruptUnitError, IncompleteUnitError)):
        open_unit(moved)


@pytest.mark.parametrize("name", ["", "Token", "a/b", "..", "x" * 80, "ädm", "1st", "a@b"])
def test_names_that_are_no_folder_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a kind"):
        ArtifactKind(name=name)


def test_a_name_has_one_kind() -> None:
    with pytest.raises(ConfigError, match="already"):
        registry.register_artifact(ArtifactKind(name="affinities"))


def test_the_guides_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (Path(__file__).parents[3] / "docs/guide/extending.md").read_text("utf-8")
    blocks = [part.split("```")[0] for part in guide.split("```python\n")[1:]]
    (example,) = (block for block in blocks if "PROTOTYPE = ArtifactKind(" in block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])
    names = {"embedding": np.ones((8, 1024), np.float32)}
    exec(example, names)
    assert Cache(tmp_path / "cache").artifacts("prototype")[0].state == "complete"
    np.testing.assert_array_equal(names["prototype"]["embedding"][...], names["embedding"])  # type: ignore[index]
