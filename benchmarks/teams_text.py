"""The sentences of docs/results/teams.md that no table gives."""

LEAD = """\
Level-based foraging by 1 to 4 players under RLlib's own multi-agent PPO with `NoiseScalePPOLearner`
([../hosts/rllib.md](../hosts/rllib.md)): one network, one policy for all players, food that takes two of them at the
same time (a lone player's takes one). The plan was fixed before the first run:
[../notes/teams.md](../notes/teams.md). The paper's Dota 5v5 has a noise scale at least 8 times that of 1v1; this asks
how much of such a difference a team alone makes, in a game that can be installed."""

FOUND = """\
**At equal score four players have 4.6 times the noise scale of one (2.1 to 10), counted in observations of players: by
the plan that is growth, and in proportion to the team. In steps of the game it is 1.2 times (0.52 to 2.5): no growth
beyond the number of players was shown.**

- All of it lies between one player and two: 5.6 times (2.5 to 13). From two to four players the factor is 0.83 (0.37 to
  1.9), so none was shown, and in steps of the game the noise scale falls, 0.42 times (0.19 to 0.93).
- From one player to two the task changes too: food begins to take two, and a run takes 5 times as many steps of the
  game to the same score. From two to four the rule stays and the game becomes easier, since any two players are enough.
  So this may be the game's difficulty as well as the team's size; the two were not told apart.
- How sure: four seeds a size, one game, one learning rate and batch. The runs of a size differ by factors of up to 2.7.
  At 0.8, 4 of 16 runs have only a lower end and are in no mean (1, 1, 2 and 0 of the four sizes). So the mean of one
  player is low and 4.6 may be high: all runs' moments together say 1,200, 6,900, 6,300 and 4,700, 3.9 times from one to
  four. At 0.6 a lone player's noise scale is not known, since such runs are there after 9 rollouts.

How to read the tables. A row of the loss is one observation of one player, and the noise scale counts those; divided by
the number of players it is in steps of the game. A game is one independent unit, whatever its players. Players who see
and do the same would have a noise scale in proportion to their number, the dotted line, and one that does not change in
steps of the game. Scores are shares of the food, means over 100 games. Student's intervals are over seeds, with the
spread pooled over sizes; each run's own are Fieller's. A run without an upper end is in no mean, so a mean beside "at
least" is low; the column of all runs' moments together was not planned, holds those runs too, and agrees."""

NOT_TRIED = [
    "- Teams against each other, as in Dota: nobody plays against these.",
    "- Food that takes every player: by counting, three random players collect it in one of some 2,000 games.",
    "- A learning rate and batch tuned for each size. Both are the same for all, and both move the noise scale\n"
    "  ([temperature.md](temperature.md)).",
    "- Critical batches by sweeps: what a larger team's noise scale says about its best batch is not known from this.",
    "- A policy for each player, a central critic, other numbers of foods, larger fields.",
    "- Games of one Atari ROM by difficulty and mode: RLlib's PPO plays and learns 370 observations/s on two\n"
    "  cores ([throughput.md](throughput.md)), fewer than 300 a core: too slow for several settings and seeds.",
]

DONE_BY = """\
    pip install -c constraints.txt -e '.[train,bench]'
    python -m benchmarks.teams runs/teams               # 16 runs, one after another
    python -m benchmarks.teams runs/teams --add         # docs/results/teams.csv, this page, its figure

2026-11-30, commit 2f19c3e, 2 cores (AMD EPYC), no GPU, torch 2.13.0+cpu, Ray 2.60.0, lbforaging 2.0.0, one thread. The
16 runs took 47 minutes by the clock, at low priority on a machine with a load of 4 to 29. Commits that came meanwhile
changed types and other parts of the code, nothing that these runs compute. All rows: [teams.csv](teams.csv)."""
