"""What the runs recorded: results, claims, comparisons, plans."""
