"""Named settings of models and their training.

A recipe is a row of a table: a function that makes the model, its settings and the Trainer's. Any of them can be
changed; a setting that the recipe does not have is an error. A recipe of one's own is an object of this class in any
module: :func:`get` finds it as ``my.module:NAME``. torch is imported when a model is made, not when the table is read.

``ROWS`` is a second table: published figures, each with the recipe that is to reach it.
"""

from mnistvae.recipes.literature import ROWS, Row, get_row
from mnistvae.recipes.options import Option, options
from mnistvae.recipes.recipe import Lazy, Recipe
from mnistvae.recipes.table import RECIPES, get, names, warm_cosine

__all__ = [
    "RECIPES",
    "ROWS",
    "Lazy",
    "Option",
    "Recipe",
    "Row",
    "get",
    "get_row",
    "names",
    "options",
    "warm_cosine",
]
