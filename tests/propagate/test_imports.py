import os
import subprocess
import sys

SCRIPT = """
import importlib, pkgutil, sys
import ted.propagate
names = [m.name for m in pkgutil.walk_packages(ted.propagate.__path__, "ted.propagate.")]
for name in names:
    importlib.import_module(name)
assert "ted.propagate.engine" in names and "ted.propagate.targets.masks" in names, names
wrong = [m for m in sys.modules if m.startswith(("diffusers", "transformers", "ted.extract", "ted.pipeline"))]
sys.exit(f"imported: {wrong}" if wrong else 0)
"""


def test_propagation_imports_neither_models_nor_extraction() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
