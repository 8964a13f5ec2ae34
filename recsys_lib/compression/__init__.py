"""Smaller models and tables: pruning, quantisation, distillation; and fine-tuning."""
