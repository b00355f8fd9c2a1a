"""`python -m experiments.benchmark` is the command `tempo-jax benchmark`."""

from tempo_jax.cli import benchmark, command

if __name__ == '__main__':
  command.launch(benchmark)
