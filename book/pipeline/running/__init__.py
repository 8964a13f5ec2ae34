"""Which chapters have to run, and running them."""
