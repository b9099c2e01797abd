"""What a run may use: this machine or a cluster, which process gets what of it, and what is wrong with it."""
