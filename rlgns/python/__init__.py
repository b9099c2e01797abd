"""The Python interface: training from a script, runs as arrays, fits of points. `rlgns` itself exports its names."""
