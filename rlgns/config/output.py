"""Where rows, checkpoints and files go besides the run's folder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputConfig:
    """Where the rows of metrics.jsonl go besides."""

    mirror: str = ""
    """URL of a folder (s3://, gs://, file://) that gets rows and checkpoints as they come; `--resume URL` takes the run
    over on another machine."""

    tensorboard: bool = False
    """Whether to write TensorBoard's files into DIR/tensorboard."""

    log_every_s: float = 1.0
    """W&B and TensorBoard get at most one row per so many seconds of training; 0: every row. metrics.jsonl has all."""

    def __post_init__(self) -> None:
        if self.log_every_s < 0:
            raise ValueError(f"output.log_every_s must be zero or positive, got {self.log_every_s}")
        scheme, separator, rest = self.mirror.partition("://")
        if "@" in rest or "?" in rest:  # not shown: it may hold a key
            raise ValueError(
                f"output.mirror {scheme}://... holds credentials or options; leave them out: keys belong into the "
                "environment or a file (AWS_ACCESS_KEY_ID, ~/.aws/credentials), an S3 server into AWS_ENDPOINT_URL"
            )
        if self.mirror and not (scheme and separator and rest.strip("/")):
            raise ValueError(
                "output.mirror must be a URL such as s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or file:///FOLDER, got "
                f"{self.mirror!r}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class WandbConfig:
    """Weights & Biases."""

    mode: str = "auto"
    """`auto` (online if logged in, else offline), `online`, `offline` or `disabled`."""

    project: str = "rlgns"
    """W&B project; WANDB_PROJECT counts where none is given."""

    entity: str = ""
    """W&B user or team; empty: WANDB_ENTITY, else the login's default."""

    group: str = ""
    """W&B group; empty: `run.name` where it is given, else WANDB_RUN_GROUP, else the preset's name."""

    name: str = ""
    """Name of the run in W&B, behind game and seed where there are several; empty: WANDB_NAME, else game, experiment
    and seed."""

    tags: tuple[str, ...] = ()
    """Tags beside game, protocol and preset; WANDB_TAGS counts where none is given."""

    artifacts: str = "none"
    """What goes to W&B as files: `none`, `report` (at the end), or `all` (checkpoints too: hourly and at the end)."""

    video_every_observations: int = 0
    """Every so many observations the newest checkpoint plays 10 games, and one more on video, in a separate
    process; scores and video go to W&B, the video into DIR/videos too. 0: never."""

    alert_factor: float = 2.0
    """Alert, in the terminal and in W&B, when the batch is this many times off the interval of the predicted critical
    batch; 0: never."""

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "online", "offline", "disabled"):
            raise ValueError(f"wandb.mode must be one of auto, online, offline, disabled; got {self.mode!r}")
        if not self.project:
            raise ValueError("wandb.project must not be empty")
        if self.artifacts not in ("none", "report", "all"):
            raise ValueError(f"wandb.artifacts must be one of none, report, all; got {self.artifacts!r}")
        if self.video_every_observations < 0:
            raise ValueError(
                f"wandb.video_every_observations must be zero or positive, got {self.video_every_observations}"
            )
        if self.alert_factor != 0 and not self.alert_factor >= 1:
            raise ValueError(f"wandb.alert_factor must be at least 1, or 0 for never, got {self.alert_factor}")
