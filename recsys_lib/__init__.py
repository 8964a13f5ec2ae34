"""The library under the book, in packages named by the field's terms.

Imports run downward only: the ground (artifacts, imports, machine, plots, records),
metrics, latency, data and ranking, embeddings, models and compression, serving,
scaling. Nothing is re-exported: a chapter's fingerprint follows what it can reach.
"""

__version__ = "0.1.0"
