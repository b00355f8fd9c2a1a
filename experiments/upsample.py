"""`python -m experiments.upsample`, see `tempo_jax.cli.upsample`."""

from tempo_jax.cli import upsample

if __name__ == '__main__':
  upsample.launch()
