"""The CoNLL-U format: what is passed over, what is read, what is refused."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import together

from widebasin.data import DataError, read_conllu

EXAMPLE = """\
# sent_id = 1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\tV\tMood=Imp\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\tCase=Acc\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\tE\t_\t5\tcase\t_\t_
4\tel\tel\tDET\tR\tDefinite=Def\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\tS\tGender=Masc\t1\tobl\t_\t_
5.1\tvamos\tir\tVERB\t_\t_\t_\t_\t_\t_

# a sentence without words

# text = _
0.1\t_\t_\t_\t_\t_\t_\t_\t_\t_
1\t_\t_\tPUNCT\tF\t_\t0\troot\t_\t_
"""


def written(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@together(
    ("column", "tags", "missing"),
    [
        ("upos", (("VERB", "PRON", "ADP", "DET", "NOUN"), ("PUNCT",)), 0),
        ("xpos", (("V", None, "E", "R", "S"), ("F",)), 1),
        ("deprel", (("root", "obj", "case", "det", "obl"), ("root",)), 0),
        ("feats", (("Mood=Imp", "Case=Acc", None, "Definite=Def", "Gender=Masc"), (None,)), 2),
    ],
)
def test_only_syntactic_words_count(tmp_path, column, tags, missing):
    found = read_conllu(written(tmp_path / "t.conllu", EXAMPLE), column)
    assert found.words == (("vamos", "nos", "a", "el", "mar"), ("_",))
    assert (found.tags, found.column, found.missing) == (tags, column, missing)
    assert (len(found), found.tokens) == (2, 6)


@together(
    "change", [lambda t: t + "\n", lambda t: "\n\n" + t, lambda t: t.replace("\n", "\r\n"), lambda t: t + " \n\n"]
)
def test_blank_lines_and_ends_of_lines_do_not_matter(tmp_path, change):
    found = read_conllu(written(tmp_path / "t.conllu", change(EXAMPLE)))
    assert found == read_conllu(written(tmp_path / "u.conllu", EXAMPLE))


forms = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=4)
tags = st.one_of(st.none(), st.sampled_from(["NOUN", "VERB", "X"]))
texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=5)


def row(identity, form, tag="_"):
    return "\t".join([identity, form, "_", tag, *"______"])


@st.composite
def treebanks(draw):
    """The words and tags of sentences, and a file of them with whatever else may stand between them."""
    sentences = draw(st.lists(st.lists(st.tuples(forms, tags), min_size=1, max_size=5), min_size=1, max_size=4))
    lines = []
    for sentence in sentences:
        lines += [f"# {text}" for text in draw(st.lists(texts, max_size=2))]
        if draw(st.booleans()):
            lines.append(row("0.1", "e"))
        for number, (form, tag) in enumerate(sentence, 1):
            if number < len(sentence) and draw(st.booleans()):
                lines.append(row(f"{number}-{number + 1}", draw(forms)))
            lines.append(row(str(number), form, tag or "_"))
            lines += [row(f"{number}.{k + 1}", draw(forms), "X") for k in range(draw(st.integers(0, 2)))]
        lines += [""] * draw(st.integers(1, 2))
        if draw(st.booleans()):
            lines += ["# no words", ""]
    text = "\n".join(lines)
    return sentences, text.rstrip("\n") if draw(st.booleans()) else f"{text}\n"


@given(treebanks(), st.booleans())
def test_sentences_are_read_back(tmp_path_factory, made, zipped):
    sentences, text = made
    content = text.encode()
    path = tmp_path_factory.mktemp("ud") / "t.conllu"
    found = read_conllu(written(path, gzip.compress(content) if zipped else content))
    assert [list(zip(*pair, strict=True)) for pair in zip(found.words, found.tags, strict=True)] == sentences


GOOD = row("1", "a", "X") + "\n"
BAD = {
    GOOD + "2\tb\tX\n": "line 2 has 3 columns, but CoNLL-U has 10, separated by single tabs; get",
    GOOD.replace("\n", "\t_\n"): "line 1 has 11 columns",
    GOOD.replace("\t", " "): "line 1 has 1 column,",
    GOOD + "\t" * 9 + "\n": "line 2 has the id '', which must be a number",
    row("x", "a", "X"): "line 1 has the id 'x', which must be a number such as 3, 3-4 or 3.1; get the file",
    row("\u0661", "a", "X"): "which must be a number",
    row("1-", "a", "X"): "which must be a number",
    row("-1", "a", "X"): "which must be a number",
    GOOD + row("3", "b", "X"): "line 2 has the id 3, but the next word is 2; number the words of every sentence from 1",
    GOOD + GOOD: "line 2 has the id 1, but the next word is 2; .* end it with a blank line",
    row("0", "a", "X"): "line 1 has the id 0, but the next word is 1",
    "# c\n" + row("1", "", "X"): "line 2 has an empty form; write _ for a missing one",
    row("1", "a", ""): "line 1 has an empty upos; write _ for a missing one",
    row("1", "a", " "): "line 1 has an empty upos",
    GOOD.encode() + b"2\t\xe9\n": "line 2 is not UTF-8 text",
    "": "contains no words; get the file again",
    "# only a comment\n\n": "contains no words",
}


@together("text", BAD)
def test_what_is_no_treebank_is_an_error_with_file_and_line(tmp_path, text):
    with pytest.raises(DataError, match=BAD[text]) as error:
        read_conllu(written(tmp_path / "t.conllu", text))
    assert "t.conllu: " in str(error.value)


@together("kept", [2, 10, 30, 100, -9, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = written(tmp_path / "t.conllu.gz", gzip.compress(EXAMPLE.encode())[:kept])
    with pytest.raises(DataError, match=r"t\.conllu\.gz: "):
        read_conllu(path)


def test_columns_that_hold_no_tags_are_refused(tmp_path):
    with pytest.raises(ValueError, match="column must be one of upos, xpos, deprel, feats, got 'lemma'"):
        read_conllu(tmp_path / "t.conllu", "lemma")
