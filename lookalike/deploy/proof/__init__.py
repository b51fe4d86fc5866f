"""How far an export is from its PyTorch model, on pictures of the recipe, before it is put in place."""
