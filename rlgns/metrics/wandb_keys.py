"""Keys that only W&B gets, beside those of a row."""

from __future__ import annotations

from rlgns.metric_key import Key, KeyGroup

SUMMARY = KeyGroup(
    title="Best score",
    text="Two entries of the summary, which W&B's table of runs can show and sort by.",
    keys=(
        Key(
            name="best/score_mean",
            kind=float,
            unit="points of the game",
            meaning="The highest `score_mean` so far",
            absent_from="runs with fewer than 100 full games",
        ),
        Key(
            name="best/observations",
            kind=int,
            unit="observations",
            meaning="Observations at which it was reached",
            absent_from="runs with fewer than 100 full games",
        ),
    ),
)

CHECKPOINT_GAMES = KeyGroup(
    title="Games of checkpoints",
    text="With `wandb.video_every_observations`, the newest checkpoint plays that often, in a separate process at "
    "the lowest priority. Logged with the next row, beside the video `evaluation/video`, which is in `DIR/videos` too. "
    "Training's random streams are what they are without it; on a machine without idle cores, training is slower.",
    keys=(
        Key(
            name="evaluation/observations",
            kind=int,
            unit="observations",
            meaning="Observations that the checkpoint was trained for",
            absent_from="other rows",
        ),
        Key(
            name="evaluation/score_mean",
            kind=float,
            unit="points of the game",
            meaning="Mean raw score of 10 full games",
            absent_from="other rows",
        ),
        Key(
            name="evaluation/video_score",
            kind=float,
            unit="points of the game",
            meaning="Raw score of the game in the video",
            absent_from="other rows",
        ),
    ),
)

REFERENCE_SCORES = KeyGroup(
    title="Reference scores",
    text="W&B gets three constants beside the keys of a row, as lines to compare the score with.",
    keys=(
        Key(
            name="reference/random_score",
            kind=float,
            unit="points of the game",
            meaning="Mean score of random play",
            source="[B]",
        ),
        Key(
            name="reference/human_score",
            kind=float,
            unit="points of the game",
            meaning="Mean score of a human tester",
            source="[B]",
        ),
        Key(
            name="reference/cleanrl_score",
            kind=float,
            unit="points of the game",
            meaning="Mean score of CleanRL's PPO after 40 million frames",
            source="CleanRL's benchmark",
            absent_from="games that the benchmark lacks",
        ),
    ),
)
