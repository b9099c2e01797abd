"""`rlgns calibrate`: a frozen policy's noise scale by brute force, beside every on-line estimator."""
