"""Run a script, or a module after ``-m``, with the pretended device, in this process and in those it starts."""

import os
import runpy
import sys
from pathlib import Path

from . import install

if __name__ == "__main__":
    folder = str(Path(__file__).parent / "everywhere")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    install()
    if sys.argv[1] == "-m":
        sys.argv = sys.argv[2:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")
