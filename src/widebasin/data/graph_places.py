"""Finds data sets of graphs: tables of molecules, and folders of OGB and TU."""

from pathlib import Path

from widebasin.data.places import folders_here

# Subfolder of the data folder for tables of molecules, and the endings of their names.
FOLDER, ENDINGS = "mol", (".csv", ".csv.gz")


def find_graphs(name: str) -> Path | None:
    """The file or folder with a name, or ``None`` if there is none.

    A path of a table, or of a folder in the layout of OGB (``raw/``) or TU (``DS_graph_indicator.txt``); or the name of
    one in the data folder or in ``mol`` there (see ``folders_of``), in upper or lower case, of tables also without
    ``.csv`` or ``.csv.gz``.

    Raises:
        DataError: if a folder cannot be read.
    """
    if not name:
        return None
    names = [name, *(f"{name}{ending}" for ending in ENDINGS)]
    for folder in (None, *folders_here(FOLDER)):
        there = {} if folder is None else {path.name.lower(): path for path in folder.iterdir()}
        for one in names:
            path = Path(one) if folder is None else there.get(one.lower())
            if path is not None and _holds_graphs(path):
                return path
    return None


def _holds_graphs(path: Path) -> bool:
    if path.is_dir():
        return (path / "raw").is_dir() or any(path.glob("*_graph_indicator.txt"))
    return path.is_file() and path.name.lower().endswith(ENDINGS)
