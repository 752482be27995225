"""Pretend a CUDA device in a Python process from its start."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.pretended_cuda import install

sys.path.pop(0)
install()
