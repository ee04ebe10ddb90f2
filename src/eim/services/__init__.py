"""What the eIM does; the only layer that opens transactions."""
