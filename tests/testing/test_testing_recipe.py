"""The text form of a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meerkat_rt.testing import Recipe

names = st.from_regex(r"[a-z]+( [a-z]+)*", fullmatch=True).filter(lambda name: name != "fifo")
injections = st.lists(st.tuples(st.integers(0, 9999), names), max_size=3).map(tuple)
orders = st.dictionaries(
    st.integers(0, 999), st.permutations(range(4)).map(tuple), min_size=1, max_size=4
)


@given(inject=injections, seed=st.none() | st.integers(0, 10**9))
def test_a_seeded_recipe_survives_being_written(inject, seed):
    recipe = Recipe(inject=inject, seed=seed)
    assert Recipe.parse(str(recipe)) == recipe


@given(inject=injections, orders=orders)
def test_an_explicit_recipe_survives_being_written(inject, orders):
    recipe = Recipe(inject=inject, orders=orders)
    assert Recipe.parse(str(recipe)) == recipe


def test_the_form_that_people_see():
    recipe = Recipe(inject=((35, "cancel"), (40, "drop it")), orders={12: (2, 0, 1), 3: (1, 0)})
    assert str(recipe) == "at=35:cancel+40:drop it orders=3:1,0;12:2,0,1"
    assert str(Recipe()) == "fifo"


@pytest.mark.parametrize(
    "text",
    ["at=35", "orders=3:0", "orders=3:1,1", "orders=3", "sede=4", "cancel", "at=x:cancel"],
)
def test_what_is_not_a_recipe_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        Recipe.parse(text)
