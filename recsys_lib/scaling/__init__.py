"""More than one process: torch.distributed and Ray."""
