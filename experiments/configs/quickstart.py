"""See `tempo_jax.configs.quickstart`."""

from tempo_jax.configs.quickstart import get_config as get_config
