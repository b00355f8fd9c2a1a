"""See `tempo_jax.configs.atlas`."""

from tempo_jax.configs.atlas import get_config as get_config
