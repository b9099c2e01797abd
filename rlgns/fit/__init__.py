"""`rlgns fit`: tables of points, read and written; what adaptive batches gained."""
