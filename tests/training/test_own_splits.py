"""A dataset's own splits, in a run of a language model, which holds out shares."""

import pytest
from datasets import Dataset
from tests.helpers.recipes import recipe_values

from hf_gpt.data.sources import text_source
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training.distributed import read_launch
from hf_gpt.training.planned_task import is_here
from hf_gpt.training.pretraining import Pretraining


@pytest.mark.parametrize("split", ["train", "train+test"])
def test_splits_that_a_language_model_does_not_read_are_said(tmp_path, capsys, split):
    (tmp_path / "shards").mkdir()
    for name, count, first in (("train", 400, 0), ("test", 25, 1000)):
        texts = [f"The value number {i} is {i * i} and no other." for i in range(first, first + count)]
        Dataset.from_dict({"text": texts}).to_parquet(tmp_path / "shards" / f"{name}-00000-of-00001.parquet")
    dataset = {"path": str(tmp_path / "shards"), "split": split}
    assert is_here(text_source(dataset))
    recipe = parse_recipe({**recipe_values("unread", tmp_path / "run"), "dataset": dataset})
    Pretraining(recipe).prepare_data(read_launch(1))
    said = (
        "25 rows (the own split 'test' of the dataset) are not read: shares of 'train' are held out; dataset.split=train+test reads "
        "both."
    )
    told = capsys.readouterr()
    assert (said in " ".join((told.out + told.err).split())) == (split == "train")
