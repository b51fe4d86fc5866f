"""How far an export is from its PyTorch model, measured on pictures of the recipe before it is put in place."""
