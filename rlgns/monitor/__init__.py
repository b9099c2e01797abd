"""What a user sees during training: terminal, Weights & Biases, alerts."""
