"""The memory's laws, on both databases and a real broker."""
