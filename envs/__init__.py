"""Atari games: table of games and scores, named protocols, the C++ vector environment. No torch, no Ray."""
