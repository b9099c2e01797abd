"""What makes training fast: threads, processes, compiled kernels, and the precision that they compute in."""
