"""The network as RLlib sees it."""

from __future__ import annotations

from typing import Any

from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule

from rlgns.agents.config import NetworkConfig
from rlgns.agents.network import build_network


class AtariModule(TorchRLModule):
    """Holds the network. RLlib's tools call its forward method; training does not."""

    def setup(self) -> None:
        """Builds the network from `model_config`: network, num_actions, frame_stack, image_size."""
        assert isinstance(self.model_config, dict)
        settings = dict(self.model_config)
        network = NetworkConfig(**settings.pop("network"))
        self.network = build_network(network, **settings)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        logits, values = self.network(batch[Columns.OBS])
        return {Columns.ACTION_DIST_INPUTS: logits, Columns.VF_PREDS: values}
