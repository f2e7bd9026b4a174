"""Parquet files as examples."""

import datasets

import lmpipe

rows = {"question": ["1 + 1", "2 + 2"], "answer": ["2", "4"]}
datasets.Dataset.from_dict(rows).to_parquet("rows.parquet")
examples = lmpipe.read_examples("rows.parquet", inputs=["question"])
assert [example.answer for example in examples] == ["2", "4"]
