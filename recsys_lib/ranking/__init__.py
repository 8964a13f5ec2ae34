"""Similarities, the top n, and vector indexes over faiss."""
