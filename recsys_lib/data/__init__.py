"""Interactions and items in one shape, from MovieLens, reviews or files; splits."""
