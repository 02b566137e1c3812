"""Tables in .csv and .parquet files."""

import logging

import numpy as np
import pandas as pd
import pytest
from together import together

from widebasin.data import DataError, table

FRAME = pd.DataFrame(
    {
        "age": [20, 30, 50, 40],
        "grade": ["b", "a", "b", "c"],
        "height": [1.5, 1.75, 2.0, 1.75],
        "member": [True, False, False, True],
        "same": [1, 1, 1, 1],
        "y": ["no", "yes", "no", "yes"],
    }
)


def written(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@together("ending", ["csv", "parquet"])
def test_numbers_are_standardized_and_texts_get_an_input_each(tmp_path, caplog, ending):
    caplog.clear()
    path = tmp_path / f"people.{ending}"
    FRAME.to_csv(path, index=False) if ending == "csv" else FRAME.astype({"grade": "category"}).to_parquet(path)
    found = table(path)
    assert found.inputs == ("age", "grade=a", "grade=b", "grade=c", "height", "member=False", "member=True")
    age, height = np.array([-15, -5, 15, 5]) / np.sqrt(125), np.array([-0.25, 0, 0.25, 0]) / np.sqrt(0.03125)
    grade, member = [[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1], [1, 0], [1, 0], [0, 1]]
    np.testing.assert_allclose(found.dataset.inputs, np.column_stack([age, grade, height, member]), rtol=1e-6)
    assert (found.target, found.classes, found.dataset.num_classes, found.deviation) == ("y", ("no", "yes"), 2, 1.0)
    assert found.dataset.targets.tolist() == [0, 1, 0, 1]
    assert (found.dataset.name, found.dataset.inputs.dtype) == ("people", np.float32)
    assert "columns that get an input for each of their values: 'grade' (3), 'member' (2)" in caplog.messages[0]


def test_a_csv_and_a_parquet_file_of_one_table_are_the_same_data(tmp_path):
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    FRAME.set_index(pd.Index([7, 8, 9, 10], name="id")).to_parquet(tmp_path / "t.parquet")  # an index is no column
    digests = [table(tmp_path / f"t.{ending}").dataset.digest() for ending in ("csv", "parquet")]
    assert digests[0] == digests[1]
    FRAME.replace({"age": {20: 21}}).to_csv(tmp_path / "t.csv", index=False)
    assert table(tmp_path / "t.csv").dataset.digest() != digests[0]


def column(values):
    return "a,y\n" + "".join(f"{number},{value}\n" for number, value in enumerate(values))


@together(
    ("values", "task", "classes", "said"),
    [
        ([0, 1, 2] * 4, None, ("0", "1", "2"), ""),
        ([3, 8, 5] * 4, None, ("3", "5", "8"), "integers, used as 3 classes in this order: '3', '5', '8'; if they"),
        ([2**60, 2**60 + 1] * 9, None, (str(2**60), str(2**60 + 1)), "integers, used as 2 classes in this order"),
        (["u", "v"] * 12, None, ("u", "v"), "texts, used as 2 classes in this order: 'u', 'v'"),
        (["u", "v"], None, ("u", "v"), "fewer than 10 examples per class"),
        (["true", "false"] * 12, None, ("False", "True"), "texts, used as 2 classes"),
        (range(21), None, None, "integers with 21 different values, used for regression; if they are cla"),
        (range(21), "classification", tuple(map(str, range(21))), ""),
        ([3, 8, 5], "regression", None, ""),
        ([1.0, 2.0, 1.0], None, None, "floats, all whole numbers, with 2 different values, used for regression"),
        ([1.0, 2.0, 1.0], "classification", ("1", "2"), ""),
        ([0.5, 2.5, 1.0], None, None, ""),
    ],
)
def test_what_targets_are_taken_for_is_said(tmp_path, values, task, classes, said):
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger("widebasin").addHandler(handler)
    try:
        found = table(written(tmp_path / "t.csv", column(values)), task=task)
    finally:
        logging.getLogger("widebasin").removeHandler(handler)
    assert found.classes == classes
    if said:
        assert said in heard[0]
    else:
        assert heard == []
    if classes is None:
        numbers = np.array(list(values), float)
        assert found.deviation == pytest.approx(numbers.std())
        np.testing.assert_allclose(found.dataset.targets[:, 0] * found.deviation + numbers.mean(), numbers, atol=1e-5)
    else:
        names = [f"{value:g}" if isinstance(value, float) else str(value).capitalize() for value in values]
        assert [classes[label].capitalize() for label in found.dataset.targets] == names


BAD = {
    "": "is empty",
    "\n\n": "is empty",
    "a,y\n": "'a', 'y', but no rows",
    "a,a,y\n1,2,0\n": "several columns are named 'a'",
    ",a,y\n0,2,0\n": r"a column has no name; .*to_csv\(index=False\)",
    "a;y\n1;2\n": "there is only one column, 'a;y'; columns must be separated by commas",
    "a;y\n1,5;2\n": "there is only one column, 'a;y'; columns must be separated by commas",
    "a\ty\r\n1,5\t2\r\n".encode("utf-8-sig"): r"there is only one column, 'a\\ty'; columns must be separated by commas",
    "Unnamed: 0,a,y\n0,7,0\n1,5,1\n": r"column Unnamed: 0 numbers the rows; .*to_csv\(index=False\)",
    "Unnamed: 0.1,a,y\n1,7,0\n2,5,1\n": "column Unnamed: 0.1 numbers the rows",
    "a,y\n1,0\n2,1\n?,1\n": r"column a are numbers, but not '\?': fill in missing .*, save the table as \.parquet",
    'a,y\n"1,5",0\n"2,5",1\n"1,000.5",1\n1,1\n': "column a are numbers, but not '1,5', '2,5', '1,000.5': fill in",
    "a,y\n" + "".join(f"{n} %,{n % 2}\n" for n in range(60)): "are numbers, but not '0 %', '1 %', '2 %' and 57 more",
    'a,y\n1,"0,5"\n2,"1,5"\n': r"values of column y are numbers, but not '0,5', '1,5': .*, say t\.csv:y:classification",
    "1.5,2\n1,2\n": "the first line has numbers, '1.5', '2'; it must have the column names",
    "a,b,y\n1,2,0\n3,1\n": "Row #3: Expected 3 columns, got 2",
    "a,b,y\n1,2,0\n3,1,2,4\n": "Row #3: Expected 3 columns, got 4",
    "a,b,y\n1,,0\nNA,u,1\n,v,1\n": "values are missing: a in 2, b in 1 of 3 rows; fill them",
    "a,y\n1,0\ninf,1\n": "column a has 1 infinite values",
    "a,y\n1,0\n2,0\n": "all targets, column y, are '0'; there is nothing to learn",
    "a,y\n1,0.5\n2,0.5\n": "all targets, column y, are 0.5",
    "a,y\n1,0\n1,1\n": "no column besides the target differs between rows",
    "a,y\n2020-01-01,0\n2020-01-02,1\n": r"column a has type date32\[day\], not a valid input",
    "a,y\n1e308,1\n-1e308,0\n": "numbers in column a are too large",
    "a,y\n"
    + "".join(f"n{number},{number % 2}\n" for number in range(51)): "column a has 51 different texts, such as 'n0'",
    b"a,y\n\xe9,0\n1,1\n": "column a is not UTF-8 text",
    b"\xe9,y\n2,0\n1,1\n": "the first line is not UTF-8 text",
    "a,y\n1,0\n2,1\n".encode("utf-16"): "is UTF-16 text; save the file in UTF-8",
    b"\x00\x01\x02\xff" * 50: "t.csv",
}


@together("text", BAD)
def test_what_is_no_table_is_an_error_with_file_and_column(tmp_path, text):
    with pytest.raises(DataError, match=BAD[text]) as error:
        table(written(tmp_path / "t.csv", text))
    assert "t.csv: " in str(error.value)


@together(
    ("text", "target", "message"),
    [
        ("a,b\n1,2\n", None, r"no column is named target, label, y; name the target, as in t\.csv:b; .*'a', 'b'"),
        ("label,y,b\n1,2,3\n", None, r"'label', 'y' may all be the target; name the target, as in t\.csv:y"),
        ("a,b\n1,2\n", "c", r"there is no column 'c'; the columns of t\.csv are 'a', 'b'"),
    ],
)
def test_a_target_that_is_not_there_is_refused_with_the_columns(tmp_path, text, target, message):
    with pytest.raises(ValueError, match=message):
        table(written(tmp_path / "t.csv", text), target)


@together(
    ("task", "text", "message"),
    [
        ("classification", "a,y\n1,0.5\n2,1\n", r"y has numbers such as 0\.5, which are not labels"),
        ("regression", "a,y\n1,u\n2,v\n", "the target y has texts, which cannot be regressed on"),
    ],
)
def test_a_task_that_the_target_does_not_bear_is_refused(tmp_path, task, text, message):
    with pytest.raises(DataError, match=message):
        table(written(tmp_path / "t.csv", text), task=task)


@together(
    ("text", "task", "inputs", "classes"),
    [
        ("Unnamed: 0,y\n1,0\n0,1\n", None, ("Unnamed: 0",), ("0", "1")),  # no numbers of rows: in another order
        ("row,y\n0,0\n1,1\n", None, ("row",), ("0", "1")),
        ("a,y\n1,0\n?,1\n", None, ("a=1", "a=?"), ("0", "1")),
        ("a,y\n10-20,0\n2020.01.02,1\n", None, ("a=10-20", "a=2020.01.02"), ("0", "1")),
        ("a,y\n1,0\n2,1\n3,2+\n", "classification", ("a",), ("0", "1", "2+")),
    ],
)
def test_columns_that_are_kept_as_they_are(tmp_path, text, task, inputs, classes):
    found = table(written(tmp_path / "t.csv", text), task=task)
    assert (found.inputs, found.classes) == (inputs, classes)


def test_numbers_that_a_parquet_file_has_as_texts_are_categories(tmp_path):
    frame = pd.DataFrame({"code": ["0012", "3400", "0012"], "kind": pd.Categorical([1, 2, 3]), "y": ["1", "2", "2"]})
    frame.astype({"kind": str}).astype({"kind": "category"}).to_parquet(tmp_path / "t.parquet")
    found = table(tmp_path / "t.parquet")
    assert found.inputs == ("code=0012", "code=3400", "kind=1", "kind=2", "kind=3")
    assert found.classes == ("1", "2")


def test_parquet_files_that_are_none_or_hold_other_things(tmp_path):
    path = written(tmp_path / "t.parquet", "PAR1 no parquet")
    with pytest.raises(DataError, match=r"t\.parquet: not a parquet file, or damaged"):
        table(path)
    FRAME.assign(parts=[[1], [2], [3], [4]]).to_parquet(path)
    with pytest.raises(DataError, match=r"column parts has type list<element: int64>, not a valid input"):
        table(path)
    FRAME.assign(age=[1.0, np.nan, 2.0, None], grade=pd.Categorical(["a", None, "b", "a"])).to_parquet(path)
    with pytest.raises(DataError, match=": age in 2, grade in 1 of 4 rows"):
        table(path)


def test_a_parquet_file_that_holds_far_more_than_its_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("widebasin.data.tables.MOST_NUMBERS", 1_000)
    pd.DataFrame({"a": np.zeros(501), "y": np.zeros(501)}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"501 rows of 2 columns .* are too many"):
        table(tmp_path / "t.parquet")
    written(tmp_path / "t.csv", "a,b,y\n" + "".join(f"{n},t{n % 40},{n % 2}\n" for n in range(50)))
    with pytest.raises(DataError, match="50 examples with all inputs are more than 1,000 numbers"):
        table(tmp_path / "t.csv")


def test_a_folder_is_no_table(tmp_path):
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(DataError, match="not a file but a folder"):
        table(tmp_path / "t.csv")
