"""Writes tables and figures of results into the page beside this file, from the results folders that sweeps left.

    python docs/results/tables.py results/overparam-mnist-mlp results/overparam-digits-resnet

The table of a workload stands in README.md between ``<!-- table: WORKLOAD -->`` and ``<!-- end of table -->``. Where
``WORKLOAD-gain.svg`` or ``WORKLOAD.csv`` lies here (a colon written as a dash), it is replaced by the figure, or by
what there is of every network.
"""

import re
import shutil
import sys
from pathlib import Path

import pandas as pd

import widebasin
from widebasin.studies.answers.overparam import in_setting
from widebasin.sweep.folder import ResultsFolder

HERE = Path(__file__).parent
ROUNDING = 0.02


def table_of(found: widebasin.Results) -> pd.DataFrame:
    """The table of gains as text, with the gains that the paper reports where they are of the same setting."""
    table = found.tables[found.answer.tables[0].title]
    folder = ResultsFolder(found.folder)
    published = folder.description().published
    if published is not None:
        gains = {}
        for size in in_setting(published, folder.spec(), found.gains)["num_params"]:
            # The paper rounds its numbers of parameters.
            nearest = min(published.gains, key=lambda given: abs(given - size))
            if abs(nearest - size) <= ROUNDING * size:
                gains[f"{size:,}"] = f"{published.gains[nearest]:g}"
        if gains:
            table["published gain"] = table["parameters"].map(gains).fillna("")
    return table


def markdown(table: pd.DataFrame) -> str:
    """A table of text in Markdown."""
    lines = [list(table.columns), ["---:"] * table.shape[1], *table.to_numpy().tolist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).replace("| ---: ", "|---:").replace("---: |", "---:|")


def replaced(page: str, workload: str, table: str) -> str:
    """The page with another table of a workload."""
    pattern = rf"(<!-- table: {re.escape(workload)} -->\n\n).*?(\n<!-- end of table -->)"
    page, places = re.subn(pattern, lambda found: found[1] + table + found[2], page, flags=re.DOTALL)
    if places != 1:
        raise SystemExit(f"README.md has {places} places for the table of {workload}: write <!-- table: {workload} -->")
    return page


def main(folders: list[str], here: Path = HERE) -> None:
    """Replaces what the page has of the workloads of the folders."""
    for path in folders:
        found = widebasin.report(path, progress=False)
        workload = found.results["workload"].iloc[0]
        page = here / "README.md"
        page.write_text(replaced(page.read_text("utf-8"), workload, markdown(table_of(found))), "utf-8")
        file = workload.replace(":", "-")
        if (figure := here / f"{file}-gain.svg").exists():
            shutil.copy(found.folder / "figures" / "gain.svg", figure)
        if (networks := here / f"{file}.csv").exists():
            columns = list(pd.read_csv(networks, nrows=0).columns)
            found.results[columns].to_csv(networks, index=False, float_format="%.6g")


if __name__ == "__main__":
    main(sys.argv[1:])
