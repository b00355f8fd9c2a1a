"""`python -m experiments.benchmark`, see `tempo_jax.cli.benchmark`."""

from tempo_jax.cli import benchmark

if __name__ == '__main__':
  benchmark.launch()
