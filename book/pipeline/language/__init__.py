"""The language that the press writes in, and the catalogues of translations."""
