"""The project as it is installed."""

import ast
import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("store", "extract", "propagate", "pipeline")


def test_declared_packages_equal_the_tree() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    found = {"ted." + ".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(settings["packages"]) == found
    assert settings["package-dir"] == {f"ted.{room}": room for room in ROOMS}
    assert all((ROOT / room / "py.typed").is_file() for room in ROOMS)
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_the_citation_names_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


#: What each package may import of the others.
BELOW = {"store": set(), "extract": {"store"}, "propagate": {"store"}, "pipeline": {"store", "extract", "propagate"}}


def _imports(path: Path) -> Iterator[str]:
    """Yield the full names that a module imports of this project, at its top or inside a function."""
    package = ("ted", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            yield from (".".join((*start, *filter(None, [node.module]), item.name)) for item in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    found = {
        name.split(".")[1] for path in (ROOT / room).rglob("*.py") for name in _imports(path) if name[:4] == "ted."
    }
    assert found <= {room, *BELOW[room]}
    assert found >= BELOW[room]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("ted.store", ("torch", "diffusers", "transformers", "dask.array")),
        ("ted.propagate", ("diffusers", "transformers")),
    ],
)
def test_heavy_libraries_stay_where_they_are_needed(package: str, forbidden: tuple[str, ...]) -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        f"package = importlib.import_module({package!r})\n"
        f"for item in pkgutil.walk_packages(package.__path__, {package + '.'!r}): importlib.import_module(item.name)\n"
        "print(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(result.stdout.split())
    assert package in imported
    assert not imported & set(forbidden)


def test_the_wheel_runs_from_an_empty_folder(tmp_path: Path) -> None:
    """Build the wheel, unpack it where nothing else of the project is, and run ``ted --help`` in an empty folder."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", *ROOMS):
        (source / name).symlink_to(ROOT / name)
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)],
        capture_output=True,
        text=True,
    )
    if "No matching distribution found for setuptools" in built.stderr:
        pytest.skip("building a wheel needs setuptools from a package index")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", system_site_packages=False, with_pip=False)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(scripts / "python"),
            "install",
            "--quiet",
            "--no-deps",
            str(wheel),
        ],
        check=True,
    )
    weights = [path.relative_to(tmp_path / "env") for path in (tmp_path / "env").rglob("*.safetensors")]
    assert {path.parts[-3] for path in weights} == {"demo-video", "demo-image", "demo-text"}
    assert len(list((tmp_path / "env").rglob("demo-text/tokenizer/*"))) == 3
    # The libraries come from the environment that runs the tests; the project, found first, from the wheel.
    (own,) = (tmp_path / "env").rglob("site-packages")
    libraries = os.pathsep.join([str(own), *(path for path in sys.path if "site-packages" in path)])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": libraries}
    empty = tmp_path / "empty"
    empty.mkdir()
    for program in ("ted", "ted-extract", "ted-propagate"):
        result = subprocess.run(
            [scripts / program, "--help"],
            cwd=empty,
            capture_output=True,
            text=True,
            env=environment,
        )
        assert result.returncode == 0, result.stderr
        assert f"Usage: {program}" in result.stdout
    code = "import ted.store, ted.pipeline; print(ted.store.__file__, ted.pipeline.__file__)"
    command = [scripts / "python", "-c", code]
    where = subprocess.run(command, cwd=empty, capture_output=True, text=True, env=environment, check=True).stdout
    assert all(str(own) in file for file in where.split())
    assert not list(empty.iterdir())
