"""The library beside its peers and beside the bounds of the machine: `make bench`."""
