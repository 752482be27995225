"""The package exports the public names of stage 1, and imports no library before they are used."""

import subprocess
import sys

import ted.extract


def test_every_public_name_is_there() -> None:
    for name in ted.extract.__all__:
        assert getattr(ted.extract, name) is not None
    assert not hasattr(ted.extract, "nothing")


def test_importing_the_package_loads_no_library() -> None:
    code = "import sys, ted.extract; print([name for name in ('torch', 'numpy', 'zarr') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
