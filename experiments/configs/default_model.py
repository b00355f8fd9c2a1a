"""See `tempo_jax.configs.default_model`."""

from tempo_jax.configs.default_model import get_config as get_config
