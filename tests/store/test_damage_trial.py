"""Random damage to any file of a unit is detected and refused, and only damaged frames are written again."""

import contextlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.store import AffinitySpec, AffinityUnit, Cache, Unit, UnitSpec, demote, open_cache, open_unit, verify_unit
from ted.store.errors import CacheError, CorruptUnitError, SchemaError, TedError

from .conftest import write_affinities, write_unit
from .test_writer import tree
from .unit_inputs import make_affinities, make_frames, make_spec

FRAMES = 2
FEATURES = make_spec(frame_names=tuple(map(str, range(FRAMES))))
NEIGHBOUR = make_spec(frame_names=tuple(map(str, range(FRAMES))), video="dog", seed=4)
AFFINITIES = make_affinities(frame_count=FRAMES)
VALUES = np.random.default_rng(3).standard_normal((2, FRAMES, 3, 4, 6)).astype(np.float16)

Damage = Callable[[random.Random, Path, Path], None]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = open_cache(tmp_path_factory.mktemp("pristine") / "cache", create=True)
    write_unit(cache, FEATURES, VALUES[0])
    write_unit(cache, NEIGHBOUR, VALUES[1])
    write_affinities(cache, AFFINITIES)
    write_affinities(cache, make_affinities(frame_count=FRAMES, video="dog", features=("c" * 64, "d" * 64)))
    (cache.root.parent / "outside").write_bytes(b"outside of the cache")
    return cache.root


# Each damages one file of a unit; `other` is a file of the same kind in this or another unit.


def flip(rng: random.Random, path: Path, other: Path) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def scramble(rng: random.Random, path: Path, other: Path) -> None:
    path.write_bytes(rng.randbytes(path.stat().st_size))


def zeros(rng: random.Random, path: Path, other: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def truncate(rng: random.Random, path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def empty(rng: random.Random, path: Path, other: Path) -> None:
    path.write_bytes(b"")


def append(rng: random.Random, path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randint(1, 9)))


def delete(rng: random.Random, path: Path, other: Path) -> None:
    path.unlink()


def folder(rng: random.Random, path: Path, other: Path) -> None:
    path.unlink()
    path.mkdir()
    if rng.random() < 0.5:
        (path / "0").write_bytes(b"stray")


def link_outside(rng: random.Random, path: Path, other: Path) -> None:
    path.unlink()
    path.symlink_to(next(up for up in path.parents if up.name == "cache").parent / rng.choice(["outside", "nothing"]))


def link_to_itself(rng: random.Random, path: Path, other: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def swap(rng: random.Random, path: Path, other: Path) -> None:
    mine = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(mine)


def replace(rng: random.Random, path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


def forbid(rng: random.Random, path: Path, other: Path) -> None:
    path.chmod(0)


def edit(rng: random.Random, path: Path, other: Path) -> None:
    """Change one value in a JSON file, which stays valid JSON."""
    values = json.loads(path.read_text())
    nodes, todo = [], [values]
    while todo:
        node = todo.pop()
        items = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
        nodes += [(node, key, value) for key, value in items]
        todo += [value for _, value in items if isinstance(value, dict | list)]
    node, key, value = rng.choice(nodes)
    changed: list[Any] = [None, 0, -1, 1e300, "x", [], {}, [[1]], True]
    if isinstance(value, bool | int | float):
        changed += [value + 1, str(value), float("nan")] * 3
    if isinstance(value, str):
        changed += [value + "x", value[:-1], value.upper()] * 3
    if isinstance(value, list):
        changed += [value[::-1], value[:-1], [*value, *value]] * 3
    node[key] = rng.choice(changed)
    if isinstance(node, dict) and rng.random() < 0.2:
        node[str(key) + "2"] = node.pop(key)
    elif rng.random() < 0.1:
        del node[key]
    path.write_text(json.dumps(values, indent=rng.choice([1, 2])))


ANY = (flip, scramble, zeros, truncate, empty, append, delete, folder, link_outside, link_to_itself, swap, replace)
JSON = (*ANY, edit, edit, edit, edit, edit)


def permissions_count() -> bool:
    """Tell whether permissions can keep this process from reading its own file: root can always read."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(0)
        return not os.access(file.name, os.R_OK)


MODE = (forbid,) if permissions_count() else ()

#: Kinds of files.
KINDS = ("zarr.json", "array.json", "chunk", "complete.json", "run.json", "stray")


@dataclass(frozen=True)
class Case:
    spec: UnitSpec | AffinitySpec
    key: str
    damage: Damage
    other: str

    def __str__(self) -> str:
        return f"{self.damage.__name__} of {self.key} in {self.spec.label}, other {self.other}"


def damages(kind: str) -> tuple[Damage, ...]:
    """Return the damages of a kind of file, the important ones several times."""
    return (append,) if kind == "stray" else (*(JSON if kind.endswith(".json") else ANY), *MODE)


def draw_case(
    rng: random.Random,
    root: Path,
    spec: UnitSpec | AffinitySpec,
    kind: str | None = None,
    damage: Damage | None = None,
) -> Case:
    """Draw a file of a unit and its damage, each kind of file with the same probability unless named."""
    kind, unit, records = kind or rng.choice([*KINDS, "chunk"]), spec.folder(Path()), spec.layout.records
    array = rng.choice(spec.layout.arrays)
    frame = rng.randrange(FRAMES)
    if kind == "stray":
        key = rng.choice([array.chunk_key(FRAMES + 4), f"{array.name}/x/zarr.json", "x/zarr.json", "notes", "c/0/0"])
        return Case(spec, key, append, "")
    key = {
        "zarr.json": "zarr.json",
        "array.json": array.metadata,
        "chunk": array.chunk_key(frame),
        "complete.json": f"{records}/complete.json",
        "run.json": f"{records}/run.json",
    }[kind]
    neighbours = root.glob("*/dog.zarr/*@*/t51/up_blocks.2/*" if spec is FEATURES else "*/dog.zarr/affinities/*")
    same = [str(path.relative_to(root) / key) for path in neighbours if (path / key).is_file()]
    if kind == "chunk":
        same.append(str(unit / array.chunk_key(rng.choice([i for i in range(FRAMES) if i != frame]))))
    return Case(spec, key, damage or rng.choice(damages(kind)), rng.choice(same))


def read_all(unit: Path) -> list[NDArray[Any]]:
    opened = open_unit(unit)
    if isinstance(opened, AffinityUnit):
        return [array for frame in range(opened.spec.frame_count) for array in opened.read(frame)]
    assert isinstance(opened, Unit)
    return [opened.features[frame].compute(scheduler="synchronous") for frame in range(opened.spec.frame_count)]


def expected(spec: UnitSpec | AffinitySpec) -> list[NDArray[Any]]:
    if isinstance(spec, UnitSpec):
        return list(VALUES[0])
    return [array for frame in make_frames(spec) for array in frame]


def repair(cache: Cache, spec: UnitSpec | AffinitySpec, state: str) -> None:
    """Repair like `ted cache verify --repair`, then write the unit again."""
    overwrite = False
    if state == "damaged":
        try:
            demote(spec.folder(cache.root))
        except CorruptUnitError:  # the marker itself
            overwrite = True
    if isinstance(spec, UnitSpec):
        with cache.writer(spec, overwrite=overwrite) as writer:
            for frame in set(range(FRAMES)) - writer.done:
                writer.write(frame, VALUES[0][frame])
            writer.finish({"host": "here"})
        return
    frames = make_frames(spec)
    with cache.affinity_writer(spec, overwrite=overwrite) as searched:
        for frame in set(range(FRAMES)) - searched.done:
            searched.write(frame, *frames[frame])
        searched.finish({"host": "here"})


def stamps(root: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of the last change of each file."""
    found = {str(path.relative_to(root)): path.lstat() for path in root.rglob("*") if path.is_file()}
    return {key: (stat.st_ino, stat.st_mtime_ns) for key, stat in found.items()}


def rewritten(case: Case) -> set[str]:
    """Return the files that a repair may write: records, damaged files, and all chunks of a damaged frame."""
    layout, unit = case.spec.layout, case.spec.folder(Path())
    keys = {f"{layout.records}/complete.json", f"{layout.records}/run.json", "zarr.json"}
    damaged = [case.key]
    if case.damage is swap and str(unit) in case.other:
        damaged.append(str(Path(case.other).relative_to(unit)))
    if case.key.endswith("complete.json"):  # intact files are unknown
        return {str(unit / key) for key in layout.files(FRAMES)} | {str(unit / key) for key in keys}
    for key in damaged:
        frame = layout.chunk_frame(key)
        keys |= {key} if frame is None or frame >= FRAMES else set(layout.chunk_keys(frame))
    return {str(unit / key) for key in keys}


def try_case(case: Case, rng: random.Random, root: Path) -> bool:
    """Damage, verify and repair a unit; return whether it equals the original."""
    cache, unit = Cache(root), case.spec.folder(root)
    before, path = tree(root), unit / case.key
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch()
    stamped = stamps(root)
    case.damage(rng, path, root / case.other)
    if case.damage is not forbid and not path.is_dir() and tree(root) == before and "run.json" not in case.key:
        return True  # swapped files were equal
    # Damage is detected and refused:
    state = verify_unit(unit).state
    marker, promised = case.key.endswith("complete.json"), case.key in case.spec.layout.files(FRAMES)
    if case.key.endswith("run.json"):
        assert state == "ok"
    elif marker and not path.exists():
        assert state in ("incomplete", "damaged")
    else:
        assert state == "damaged"
    try:
        read = read_all(unit)
    except TedError:
        assert marker or promised
    else:
        assert not marker
        assert not promised
        for found, value in zip(read, expected(case.spec), strict=True):
            np.testing.assert_array_equal(found, value)
    # Listing units still works:
    for entry in [*cache.entries(), *cache.affinities()]:
        assert entry.state in ("complete", "incomplete", "damaged")
        assert entry.spec.label
        with contextlib.suppress(TedError):
            assert entry.open().provenance
    cache.videos()
    # The repaired unit equals the original:
    if state == "ok":
        return False
    try:
        repair(cache, case.spec, state)
    except CacheError as error:  # a marker of a newer format, or one that cannot be read, is left alone
        if marker and (isinstance(error, SchemaError) or case.damage is forbid):
            return False
        raise
    if case.damage is swap and str(case.spec.folder(Path())) not in case.other:
        (root / case.other).write_bytes(before[case.other])
    assert verify_unit(unit).state == "ok"
    assert tree(root) == before
    changed = {key for key, stamp in stamps(root).items() if stamped.get(key) != stamp}
    assert changed - {case.other} <= rewritten(case)
    return True


def trial(pristine: Path, folder: Path, seed: int, draws: Iterable[tuple[Any, ...]]) -> None:
    rng, root = random.Random(seed), folder / "cache"
    shutil.copytree(pristine.parent, folder, dirs_exist_ok=True)
    for number, draw in enumerate(draws):
        case = draw_case(rng, root, *draw)
        try:
            restored = try_case(case, rng, root)
        except BaseException as error:
            error.add_note(f"seed {seed}, case {number}: {case}")
            raise
        if not restored:
            shutil.rmtree(root)
            shutil.copytree(pristine, root)


@pytest.mark.parametrize("seed", range(3))
def test_every_kind_of_damage_to_every_kind_of_file(pristine: Path, tmp_path: Path, seed: int) -> None:
    """Damage feature units and affinity units in turn."""
    pairs = [(kind, damage) for kind in KINDS for damage in damages(kind)]
    draws = [((FEATURES, AFFINITIES)[number % 2], *pair) for number, pair in enumerate(pairs)]
    trial(pristine, tmp_path, seed, draws[seed::3])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1010))
def test_much_random_damage(pristine: Path, tmp_path: Path, seed: int) -> None:
    trial(pristine, tmp_path, seed, [(spec,) for _ in range(50) for spec in (FEATURES, AFFINITIES)])
