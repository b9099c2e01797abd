"""Atari as the field plays it: game table, named protocols, the C++ vector environment, scores. No torch, no Ray."""
