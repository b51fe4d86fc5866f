"""Schema of a recipe; reading YAML with line numbers; `-o` overrides; JSON schema for editors."""

from lookalike.recipe.comparing import different_keys, warn_where_trained_otherwise
from lookalike.recipe.finding import describe_recipe, find_recipe, list_recipes, shipped_folder
from lookalike.recipe.global_keys import Global
from lookalike.recipe.loading import load_recipe
from lookalike.recipe.overrides import apply_overrides, reject_spaces
from lookalike.recipe.paths import missing_paths, require_paths
from lookalike.recipe.recipe import DataBlocks, Recipe
from lookalike.recipe.schema_export import json_schema
from lookalike.recipe.views import Views

__all__ = [
    "DataBlocks",
    "Global",
    "Recipe",
    "Views",
    "apply_overrides",
    "describe_recipe",
    "different_keys",
    "find_recipe",
    "json_schema",
    "list_recipes",
    "load_recipe",
    "missing_paths",
    "reject_spaces",
    "require_paths",
    "shipped_folder",
    "warn_where_trained_otherwise",
]
