"""Recommendations at request time: caches, batches, the HTTP service, freshness."""
