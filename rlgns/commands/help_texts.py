"""What `rlgns COMMAND --help` says above the arguments."""

RLGNS = """\
PPO on Atari that tells you, while it trains, how large a batch is still worth paying for.

examples:
  rlgns train                                       Pong, with the preset that suits this machine
  rlgns train --game breakout --observations 200000
  rlgns train --config a2c-paper --env.num_envs 64
  rlgns train --resume runs/pong-20260101-120000
  rlgns report runs/pong-20260101-120000 --json

exit codes: 0 done, 2 your mistake, 3 stopped by a fault after saving, 130 interrupted after saving
"""

TRAIN = """\
Trains each game until its observations are used up, or goes on where a run stopped.

examples:
  rlgns train --game pong --seed 1
  rlgns train --game pong breakout --config ppo --out runs/two-games
  rlgns train --config mine.yaml --agent.learning_rate 1e-3 --network.channels 16,32
  rlgns train --game pong --runners 8 --learners 2
  rlgns train --batch adaptive --adaptive.largest_envs 256
  rlgns train --resume runs/two-games

Every key can be set by --section.key VALUE; `rlgns config` prints them all with the values that a run would use.
"""

SWEEP = """\
Trains at many batch sizes, tunes the learning rate for each, and writes down what every score goal took: points.csv.
Games x batch sizes x learning rates x seeds, each a run of its own; what is there already is never trained again.

examples:
  rlgns sweep --config breakout-quick --dry-run
  rlgns sweep --config breakout-quick --out runs/breakout
  rlgns sweep --config mine.yaml --sweep.batches 64,256,1024 --sweep.seeds 0,1 --sweep.goals 2,10
  rlgns sweep --resume runs/breakout

Shipped sweeps: breakout-quick, pong-quick (1 to 2 hours on 2 cores), paper-a2c (a cluster's work). docs/sweeps.md says
what is decided how. Every key can be set by --section.key VALUE, those of the section `sweep` too.
"""

CONFIG = """\
Prints the configuration that `rlgns train` with the same arguments would use, as YAML that --config reads again,
and what follows from it: sizes of rollout, batch and groups, the hardware, and which process gets what of it (of the
cluster that RAY_ADDRESS names, where it does).

examples:
  rlgns config
  rlgns config --config a2c-paper > mine.yaml
"""

SUBMIT = """\
Runs a command as a job on a Ray cluster: sends this source along, shows the log, hands Ctrl-C on as a stop that saves
first (twice: leaves it), and returns the command's exit code. The run goes below $RLGNS_RUNS of the cluster's nodes
(default: ~/runs), which all of them must share, unless --out names another folder.

examples:
  rlgns submit --address http://HEAD:8265 -- train --game pong --runners 8
  rlgns submit --address http://HEAD:8265 -- sweep --config breakout-quick
  rlgns submit --job rlgns-pong-20260101-120000-ab12      go on following
  rlgns submit --write ray-cluster.yaml rayjob.yaml -- train --game pong --runners 8

Without --address: RAY_API_SERVER_ADDRESS, else RAY_ADDRESS, else this machine. docs/cluster.md has more.
"""

CALIBRATE = """\
Freezes a trained policy and plays until its |G|^2 and tr(Sigma) are known to the asked precision, or the observations
are used up: the truth. Beside it stands every on-line estimator on the same games, ours and other tools', with its
bias, spread and cost. Ctrl-C prints what is known so far.

examples:
  rlgns calibrate runs/pong-20260101-120000
  rlgns calibrate runs/pong-20260101-120000/checkpoints/00000400 --observations 500000 --precision 0.02 --json
  rlgns calibrate runs/pong-20260101-120000 --line-search
"""

EVALUATE = """\
Plays full games with a trained policy and prints its scores under the protocol that it was trained with.

examples:
  rlgns evaluate runs/pong-20260101-120000 --episodes 30
  rlgns evaluate runs/pong-20260101-120000 --video pong.mp4
"""

REPORT = """\
Writes one self-contained HTML file about runs, sweeps and tables of points, or prints the numbers behind it. DIR is a
run's folder, a folder of runs, a sweep's folder, or a CSV file with a sweep's points.

examples:
  rlgns report runs/pong-20260101-120000
  rlgns report runs/pong-* --out pong.html
  rlgns report runs/breakout --figures runs/breakout/figures
  rlgns report points.csv --out points.html
  rlgns report runs/pong-20260101-120000 --json > numbers.json
"""

FIT = """\
Fits the trade-off S = S_min (1 + B_crit / B) between optimizer steps and batch size to a sweep's points, for every game
and score goal. POINTS is a CSV file with the columns game, goal_score, batch_observations, optimizer_steps and
observations, or the folder of a sweep.

examples:
  rlgns fit points.csv
  rlgns fit runs/breakout-quick-20260101-120000 --json > fits.json
  rlgns fit runs/breakout-quick-20260101-120000 --adaptive runs/breakout-20260102-120000
"""

WORKSPACE = """\
Installs ready-made panels in a W&B project, as a saved view named rlgns: score against the reference scores, critical
batch against the batch in use, noise scale with its interval, ladder, views of the probe, throughput. A second time
brings that view up to date.

examples:
  rlgns workspace
  rlgns workspace --entity my-team --project atari
  rlgns workspace --write workspace.json           its JSON, without a login
"""
