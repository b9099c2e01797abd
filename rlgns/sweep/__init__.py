"""Games x batch sizes x learning rates x seeds: what every score goal takes."""
