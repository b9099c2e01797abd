"""What a row of metrics.jsonl holds: every key with its meaning, and the page made from them."""
