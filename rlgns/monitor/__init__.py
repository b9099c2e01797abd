"""What a person sees while training: terminal, Weights & Biases, metrics files."""
