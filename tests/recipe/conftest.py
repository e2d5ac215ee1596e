"""The packaged recipes, read once."""

import pytest

from hf_gpt.recipe.packaged import list_recipes
from hf_gpt.recipe.parser import load_recipe


@pytest.fixture(scope="session")
def packaged():
    return {name: load_recipe(name) for name in list_recipes()}
