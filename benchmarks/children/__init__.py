"""Programs that run in processes of their own and are measured there."""
