"""The sentences of docs/results/teams.md that no table gives."""

LEAD = ""
FOUND = ""
NOT_TRIED: list[str] = []
DONE_BY = ""
