"""`python -m experiments.train`, see `tempo_jax.cli.train`."""

from tempo_jax.cli import train

if __name__ == '__main__':
  train.launch()
