"""Smaller models and tables: pruning, quantisation, distillation."""
