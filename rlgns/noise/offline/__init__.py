"""Brute force and other references: what judges the live measurement. Training never imports it."""
