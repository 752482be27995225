"""Run notebooks and store their outputs: ``python notebooks/execute.py notebooks/*.ipynb``.

Needs the extra ``notebooks``. Warnings are dropped, and pictures are kept as JPEG where there are both forms.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def execute(path: Path) -> None:
    """Run a notebook in its folder and replace the file."""
    book = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(book, timeout=1800, record_timing=False, resources=resources).execute()
    for cell in book.cells:
        cell.metadata.clear()
        cell.outputs = [item for item in cell.get("outputs", ()) if item.get("name") != "stderr"]
        for item in cell.outputs:
            if "image/jpeg" in item.get("data", {}):
                del item["data"]["image/png"]
        if cell.cell_type != "code":
            del cell["outputs"]
    book.metadata["language_info"] = {"name": "python"}
    nbformat.write(book, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        execute(Path(name))
