"""See `tempo_jax.configs.finetune`."""

from tempo_jax.configs.finetune import get_config as get_config
