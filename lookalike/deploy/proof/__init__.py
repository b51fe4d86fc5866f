"""How far an export is from its PyTorch model: measured on pictures of the recipe, told as a table."""
