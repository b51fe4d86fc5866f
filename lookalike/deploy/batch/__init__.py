"""Embedding very many pictures: where they come from, the shards they become, and who computes which."""
