"""See `tempo_jax.configs.mdcath`."""

from tempo_jax.configs.mdcath import get_config as get_config
