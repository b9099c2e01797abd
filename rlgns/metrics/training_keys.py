"""Keys about training itself. `rlgns.engine.learner` logs what a learner knows, `rlgns.engine.rows` all the rest."""

from __future__ import annotations

from rlgns.metric_key import OLDER_RUNS, Key, KeyGroup

PROGRESS = KeyGroup(
    title="Progress",
    keys=(
        Key(name="game", kind=str, unit="name", meaning="The game, by ROM name"),
        Key(
            name="iteration",
            kind=int,
            unit="iterations",
            meaning="Iterations done, counted from 1: one rollout and its updates each. W&B's step",
        ),
        Key(
            name="observations",
            kind=int,
            unit="observations",
            meaning="Observations used for learning so far; the x-axis of every figure",
            formula="sum of `rollout_observations`",
        ),
        Key(
            name="frames",
            kind=int,
            unit="frames",
            meaning="Emulator frames so far",
            formula="`observations` x `env.frame_skip`",
        ),
        Key(
            name="optimizer_steps",
            kind=int,
            unit="optimizer steps",
            meaning="Optimizer steps so far",
            formula="epochs x minibatches per iteration",
        ),
        Key(
            name="seconds",
            kind=float,
            unit="seconds",
            meaning="Wall-clock time spent training so far. Pauses between stop and resume are left out",
        ),
        Key(
            name="batch_observations",
            kind=int,
            unit="observations",
            meaning="Batch size: observations per optimizer step",
            formula="`rollout_observations` / `agent.minibatches`",
        ),
        Key(
            name="rollout_observations",
            kind=int,
            unit="observations",
            meaning="New observations in this iteration",
            formula="environments x `agent.rollout_steps`",
        ),
        Key(
            name="batch_mode",
            kind=str,
            unit="fixed or adaptive",
            meaning="`agent.batch`. Where it is `adaptive`, environments are added and paused as the noise scale "
            "changes ([adaptive-batch.md](adaptive-batch.md))",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="num_envs",
            kind=int,
            unit="environments",
            meaning="Environments in use in this iteration; `env.num_envs` where the batch is fixed",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="target_batch_observations",
            kind=float,
            unit="observations",
            meaning="The batch size that an adaptive batch aims at now",
            formula="sqrt(r N), N = `critical_batch/now`, r = `exchange_rate`",
            source="[M] eq. D.3",
            null_when="the batch is fixed, or `critical_batch/now` is null",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="exchange_rate",
            kind=float,
            unit="observations per optimizer step",
            meaning="r: how many observations one optimizer step less is worth to an adaptive batch",
            formula="`adaptive.exchange_rate` where it is set, else E_min / S_min of the run so far: "
            "`critical_batch/predicted`, or the calibration of `noise/run_average_low` where only that is known",
            null_when="the batch is fixed, or nothing is known of the noise scale yet",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="learning_rate",
            kind=float,
            unit="per optimizer step",
            meaning="Learning rate of this iteration",
            formula="the schedule of `agents/schedule.py`: falls linearly to 0 if `agent.anneal`; times sqrt(batch / "
            "batch of `env.num_envs`) if the batch is adaptive",
        ),
        Key(
            name="policy_lag",
            kind=int,
            unit="updates",
            meaning="How many updates older the weights that played this rollout are than the weights that learned "
            "from it: 0, or 1 with `engine.async_lag`. At 1, every gradient and noise scale of the row is that of a "
            "policy one update off ([cluster.md](cluster.md))",
            formula="version of the learner's weights - version of the weights that played",
            absent_from=OLDER_RUNS,
        ),
    ),
)

SCORE = KeyGroup(
    title="Score",
    keys=(
        Key(
            name="score_mean",
            kind=float,
            unit="points of the game",
            meaning="Mean raw score (not clipped, over all lives) of the last 100 full games, fewer at the start",
            null_when="no full game has ended yet",
        ),
        Key(name="score_episodes", kind=int, unit="full games", meaning="Full games ended so far"),
        Key(
            name="human_normalised_score",
            kind=float,
            unit="fraction",
            meaning="`score_mean` on a scale where random play is 0 and a human tester is 1",
            formula="(score - random) / (human - random)",
            source="[B]",
            null_when="`score_mean` is null",
        ),
    ),
)

LEARNING = KeyGroup(
    title="Learning",
    text="Means over the optimizer steps of this iteration. A run whose gradient is NaN or infinite has diverged: it "
    "stops with exit code 3 and neither logs nor saves that iteration. Its newest checkpoint is from before.",
    keys=(
        Key(
            name="loss/policy",
            kind=float,
            unit="loss",
            meaning="Clipped surrogate loss; the policy-gradient loss for A2C",
            formula="[S] eq. 7, negated",
            null_when="not finite",
        ),
        Key(
            name="loss/value",
            kind=float,
            unit="loss",
            meaning="Value loss, before `agent.value_coefficient`",
            formula="half the mean squared error",
            null_when="not finite",
        ),
        Key(
            name="entropy",
            kind=float,
            unit="nats",
            meaning="Entropy of the policy",
            formula="-sum p ln p, mean over observations",
            null_when="not finite",
        ),
        Key(
            name="approx_kl",
            kind=float,
            unit="nats",
            meaning="Estimate of the KL divergence from the policy that played",
            formula="mean of (r - 1) - ln r, r the probability ratio",
            null_when="not finite",
        ),
        Key(
            name="clip_fraction",
            kind=float,
            unit="fraction",
            meaning="Share of observations whose probability ratio was clipped",
            formula="mean of |r - 1| > `agent.clip`",
            null_when="not finite",
        ),
        Key(
            name="explained_variance",
            kind=float,
            unit="fraction",
            meaning="Share of the returns' variance that the value function explains; may be negative",
            formula="1 - var(return - value) / var(return)",
            null_when="the returns have no variance",
        ),
        Key(
            name="grad_norm",
            kind=float,
            unit="norm",
            meaning="Norm of a step's gradient before clipping",
            formula="|g|",
            null_when="not finite",
        ),
    ),
)

THROUGHPUT = KeyGroup(
    title="Throughput",
    keys=(
        Key(
            name="throughput/observations_per_s",
            kind=float,
            unit="observations per second",
            meaning="Observations per second of wall-clock time",
            formula="`rollout_observations` / seconds of this iteration",
        ),
        Key(
            name="throughput/sample_s",
            kind=float,
            unit="seconds",
            meaning="Time of this iteration spent playing; with `engine.async_lag`, the part that learning waited for",
        ),
        Key(
            name="throughput/learn_s",
            kind=float,
            unit="seconds",
            meaning="Time of this iteration spent learning, measurement included",
        ),
    ),
)
