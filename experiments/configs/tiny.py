"""See `tempo_jax.configs.tiny`."""

from tempo_jax.configs.tiny import get_config as get_config
