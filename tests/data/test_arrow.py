# SPDX-License-Identifier: Apache-2.0
"""Arrow tables: values as they are stored, and refusals where a name could be lost."""

import datetime

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from fedpeft.data.arrow import as_dataset, dataset_rows, parquet_rows
from fedpeft.data.rows import RowError, read_records
from fedpeft.errors import DataError
from fedpeft.settings import DataSettings


def _write(tmp_path, columns):
    path = tmp_path / "site.parquet"
    parquet.write_table(pa.table(columns), path)
    return path


def _read(tmp_path, unit="record", missing_unit="refuse", id_column="id", **columns):
    columns = {"instruction": ["q"] * 3, "response": ["a"] * 3} | columns
    settings = DataSettings(source="parquet", id=id_column)
    path = _write(tmp_path, columns)
    return read_records([("f", parquet_rows(path))], settings, unit=unit, missing_unit=missing_unit)


def test_whole_numbers_name_records(tmp_path):
    big = 2**53 + 1
    ids = pa.array([7, big, -1])
    assert [record.id for record in _read(tmp_path, id=ids)] == ["7", str(big), "-1"]


def test_a_null_beside_whole_numbers_turns_none_of_them_into_a_fraction(tmp_path):
    records = _read(
        tmp_path, id=["a", "b", "c"], owner=pa.array([1, None, 1]), unit="owner", missing_unit="record"
    )
    assert [record.unit for record in records] == ["1", "\0b", "1"]


@pytest.mark.parametrize("owners", [[1.0, 2.0, 3.0], [True, False, True], [b"x", b"y", b"z"]])
def test_an_owner_with_several_spellings_is_refused(tmp_path, owners):
    with pytest.raises(DataError) as caught:
        _read(tmp_path, id=["a", "b", "c"], owner=owners, unit="owner", missing_unit="record")
    assert len(caught.value.problems) == 3
    assert "write a string or a whole number" in caught.value.problems[0]


def test_rows_are_counted_over_row_groups(tmp_path):
    path = tmp_path / "site.parquet"
    parquet.write_table(pa.table({"a": list(range(2500))}), path, row_group_size=700)
    rows = list(parquet_rows(path))
    assert rows[0] == (": row 1", {"a": 0})
    assert rows[-1] == (": row 2500", {"a": 2499})


def test_content_with_dates_and_bytes_names_records_alike(tmp_path):
    days = [datetime.date(2020, 1, n) for n in (1, 2, 3)]
    first, again = (
        [record.id for record in _read(tmp_path, id_column=None, day=days, raw=[b"x", b"y", b"\xff"])]
        for _ in range(2)
    )
    assert first == again
    assert len(set(first)) == 3


def test_a_column_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "site.parquet"
    parquet.write_table(pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["o", "o"]), path)
    [(where, error)] = parquet_rows(path)
    assert (where, str(error)) == ("", "column 'o' occurs twice; keep one")


def test_what_is_no_parquet_is_told(tmp_path):
    path = tmp_path / "site.parquet"
    path.write_bytes(b"id,owner\n")
    [(_, error)] = parquet_rows(path)
    assert isinstance(error, RowError)
    assert "cannot be read as parquet (" in str(error)


def test_an_absent_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"^f: cannot be read"):
        read_records(
            [("f", parquet_rows(tmp_path / "no.parquet"))],
            DataSettings(),
            unit="record",
            missing_unit="refuse",
        )


def test_features_are_not_decoded():
    features = datasets.Features(
        {"label": datasets.ClassLabel(names=["no", "yes"]), "n": datasets.Value("int64")}
    )
    table = datasets.Dataset.from_dict({"label": [0, 1], "n": [3, None]}, features=features)
    shown = table.with_format("numpy")
    assert list(dataset_rows(shown)) == [
        (": row 1", {"label": 0, "n": 3}),
        (": row 2", {"label": 1, "n": None}),
    ]


@pytest.mark.parametrize("found", [{"train": 1}, [{"id": 1}], None])
def test_what_is_no_single_data_set_is_refused(found):
    with pytest.raises(DataError, match=r"^here: is a .*; give a datasets\.Dataset"):
        as_dataset(found, "here")
