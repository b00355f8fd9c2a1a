"""`python -m experiments.sample`, see `tempo_jax.cli.sample`."""

from tempo_jax.cli import sample

if __name__ == '__main__':
  sample.launch()
