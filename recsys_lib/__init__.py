"""The library under the book: each module is one chapter's noun, imported by name.

Nothing is re-exported here: `from recsys_lib import metrics` imports that module and
what it needs, so that a chapter's fingerprint follows only the code it can reach.
"""

__version__ = "0.1.0"
