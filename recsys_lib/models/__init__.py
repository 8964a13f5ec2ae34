"""Recommenders from interactions: popularity, neighbours, EASE, iALS, two towers."""
