"""`python -m experiments.evaluate`, see `tempo_jax.cli.evaluate`."""

from tempo_jax.cli import evaluate

if __name__ == '__main__':
  evaluate.launch()
