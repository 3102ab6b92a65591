"""What a person writes with transformers and PEFT: Trainer, with LoRA on the last layers of an encoder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

RANK = 8


def add_lora(encoder: nn.Module, layers: tuple[int, ...], seed: int = 0) -> nn.Module:
    """The encoder with adapters of rank 8 beside the queries and values of these layers, in place."""
    from peft import LoraConfig, inject_adapter_in_model

    leaves = ("query", "value", "q_proj", "v_proj")
    names = [name for name, part in encoder.named_modules() if isinstance(part, nn.Linear)]
    inside = [f".{layer}." for layer in layers]
    chosen = [n for n in names if n.rsplit(".", 1)[-1] in leaves and any(part in f".{n}" for part in inside)]
    if len(chosen) != 2 * len(layers):
        raise SystemExit(f"expected queries and values of layers {layers}; found {chosen} among {names[:12]}")
    torch.manual_seed(seed)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules=chosen)
    return inject_adapter_in_model(config, encoder)


class Classifier(nn.Module):
    """An encoder, its pooled tokens and a linear head that starts at zero, as Trainer wants a model."""

    def __init__(self, encoder: nn.Module, width: int, classes: int, pooling: str):
        super().__init__()
        self.encoder, self.pooling = encoder, pooling
        self.head = nn.Linear(width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, labels: Tensor | None = None, **inputs: Tensor) -> dict[str, Tensor]:
        tokens = self.encoder(**inputs).last_hidden_state
        if self.pooling == "cls":
            pooled = tokens[:, 0]
        else:
            kept = inputs["attention_mask"].to(tokens.dtype)[..., None]
            pooled = (tokens * kept).sum(1) / kept.sum(1)
        logits = self.head(pooled)
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def train(
    model: Classifier,
    train: list[dict[str, Any]],
    check: list[dict[str, Any]],
    *,
    folder: Path,
    epochs: int,
    rate: float,
    collate: Any = None,
) -> dict[str, float]:
    """Train adapters and head; seconds of ``trainer.train()`` and what the validation examples gave last."""
    from transformers import Trainer, TrainingArguments

    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith("head."))
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        learning_rate=rate,
        weight_decay=0.01,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(0.1 * epochs * -(-len(train) // 32))),
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )

    def share(found: Any) -> dict[str, float]:
        return {"accuracy": float((np.argmax(found.predictions, 1) == found.label_ids).mean())}

    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=train,  # type: ignore[arg-type]  # a list of examples will do
        eval_dataset=check,  # type: ignore[arg-type]
        data_collator=collate,
        compute_metrics=share,
    )
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    last = [line for line in trainer.state.log_history if "eval_loss" in line][-1]
    return {"seconds": seconds, "loss": float(last["eval_loss"]), "accuracy": float(last["eval_accuracy"])}
