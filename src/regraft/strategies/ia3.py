"""ia3: learned factors for what layers give; the fewest trained parameters."""

from __future__ import annotations

from regraft.plans import EditSpec, Plan
from regraft.sources.layers import attention_layers
from regraft.strategies.editing import edited_plan, mixing_layers, network_of, patterns_of, second_layers
from regraft.strategies.strategy import Situation, Strategy

RATE = 3e-3
KEYS_AND_VALUES = ("key", "value", "k", "v", "k_proj", "v_proj", "k_lin", "v_lin", "to_k", "to_v", "qkv")


class IA3(Strategy):
    """Start the head at the probe's solution, then train it with factors for keys, values and hidden
    features.

    In a transformer the outputs of the layers that make keys and values are multiplied (of all of attention's
    layers where these cannot be told by name), and what the second layer of each feed-forward pair reads; in
    a convolutional network the outputs of pointwise convolutions. The factors are merged at the end.

    Source: Liu et al. (2022), "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context
    learning": its rate of 3e-3. Changed for small data: a solved head, AdamW, 15 epochs.
    """

    name = "ia3"
    when = "a large transformer and very few labels: about one trained number for each feature"
    cite = (
        "Liu et al.: Few-shot parameter-efficient fine-tuning is better and cheaper than in-context "
        "learning. NeurIPS 2022"
    )

    def plan(self, situation: Situation) -> Plan:
        """A solve stage for the head and a train stage with an edit."""
        network = network_of(situation)
        attention = attention_layers(network)
        named = tuple(path for path in attention if path.rpartition(".")[2] in KEYS_AND_VALUES)
        outputs = named or mixing_layers(situation, self.name)
        inputs = second_layers(network, attention) if attention else ()
        edit = EditSpec(
            edit=self.name,
            match=patterns_of(situation, (*outputs, *inputs)),
            options={"inputs": list(patterns_of(situation, inputs))} if inputs else {},
        )
        return edited_plan(situation, self.name, edit, RATE)
