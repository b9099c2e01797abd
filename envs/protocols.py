"""Protocols: how a game is played and scored. Scores of different protocols must not be compared.

All clip rewards to [-1, 1] for learning (the learner does it; the environments return raw rewards) and report the raw
score of full games. To add a protocol, define it here and list it in PROTOCOLS.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """One evaluation protocol."""

    name: str
    """Name in configurations and reports."""

    sticky_probability: float
    """Probability that an emulator frame repeats the action of the frame before."""

    noop_max: int
    """A game starts with up to this many frames without an action; their number is uniform from 0."""

    full_action_space: bool
    """True: all 18 actions of the joystick; False: the game's minimal set."""

    life_loss_ends_return: bool
    """A lost life ends the return for learning. The game continues, and its score counts all lives."""

    use_fire_reset: bool
    """Press FIRE for one frame when a game starts, if the game has that action; never after a lost life: the policy has
    to learn that (Breakout, Tennis, Bowling and others stand still until FIRE is pressed)."""

    max_frames_per_episode: int
    """Emulator frames, not counting no-ops, after which a game is cut off (truncated)."""

    def __post_init__(self) -> None:
        if not 0 <= self.sticky_probability < 1:
            raise ValueError(f"sticky_probability must lie in [0, 1), got {self.sticky_probability}")
        if self.noop_max < 0:
            raise ValueError(f"noop_max must be zero or positive, got {self.noop_max}")
        if self.max_frames_per_episode <= 0:
            raise ValueError(f"max_frames_per_episode must be positive, got {self.max_frames_per_episode}")

    def env_id(self, title: str) -> str:
        """Returns Gymnasium's id of the nearest environment: 'PongNoFrameskip-v4', or 'ALE/Pong-v5' (sticky actions).

        Args:
            title: The game's (`Game.title`).
        """
        return f"ALE/{title}-v5" if self.sticky_probability else f"{title}NoFrameskip-v4"

    def describe(self) -> str:
        """Returns a one-line description, which is printed and saved with every run."""
        sticky = f"sticky actions {self.sticky_probability:g}" if self.sticky_probability else "no sticky actions"
        noops = f"up to {self.noop_max} no-ops" if self.noop_max else "no no-ops"
        fire = "FIRE at the start" if self.use_fire_reset else "no FIRE at the start"
        actions = "all 18 actions" if self.full_action_space else "minimal actions"
        lives = "a lost life ends the return" if self.life_loss_ends_return else "lives ignored"
        return (
            f"protocol {self.name}: {sticky}, {noops}, {fire}, {actions}, {lives} for learning, rewards clipped to "
            f"[-1, 1] for learning, raw scores of full games, cut off at {self.max_frames_per_episode:,} frames"
        )

    def as_dict(self) -> dict[str, str | int | float | bool]:
        """Returns the fields in plain types."""
        return asdict(self)


_BASELINES = Protocol(
    name="baselines",
    sticky_probability=0.0,
    noop_max=30,
    full_action_space=False,
    life_loss_ends_return=True,
    use_fire_reset=True,
    max_frames_per_episode=108_000,
)
"""OpenAI Baselines' wrappers, as the PPO paper and CleanRL (`ppo_atari_envpool.py`) use them; after Mnih 2015."""

_MACHADO = Protocol(
    name="machado",
    sticky_probability=0.25,
    noop_max=0,
    full_action_space=True,
    life_loss_ends_return=False,
    use_fire_reset=False,
    max_frames_per_episode=108_000,
)
"""Machado et al. 2018, arXiv:1709.06009; frames capped as in ALE's v5 environments: 30 minutes at 60 a second."""

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (_BASELINES, _MACHADO)}
"""The protocols by name."""
