"""The speed: one implementation of each heavy step, and what it runs on."""
