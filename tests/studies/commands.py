"""Running a study as a user does, at a tiny size."""

import html
import re

from sweep.commands import widebasin

from widebasin.studies import Options
from widebasin.studies.answering import write_answer
from widebasin.sweep.folder import ResultsFolder


def studied(name, path, *arguments, options=Options()):  # noqa: B008
    """The text of the page of a study in ``path / "out"``: what the terminal says, and the same when made again."""
    tiny = ("--rhos", "0.1", "--seeds", "2", "--epochs", "2", "--quiet", "--out", "out")
    done = widebasin("study", name, *arguments, *tiny, check=0, cwd=path)
    assert done.stderr == ""
    out = path / "out"
    assert {"spec.toml", "run.json", "results.parquet", "history.parquet"} <= {one.name for one in out.iterdir()}
    page = (out / "report.html").read_text()
    drawn = [len(list((out / "figures").glob(f"*.{kind}"))) for kind in ("png", "svg")]
    assert drawn == [page.count("<img")] * 2
    text = " ".join(html.unescape(re.sub("<[^>]*>", " ", page)).split())
    *findings, last = " ".join(done.stdout.split()).split("\u2022 ")[1:]
    for finding in (*findings, last.partition(" Page, figures and tables:")[0]):
        assert finding.strip() in text
    (out / "report.html").unlink()
    write_answer(ResultsFolder(out), options)
    assert (out / "report.html").read_text() == page
    return text
