"""The hardware of a run: what this machine or cluster has, which process gets what, and what is wrong with it."""
