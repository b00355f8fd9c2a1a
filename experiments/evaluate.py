"""`python -m experiments.evaluate` is the command `tempo-jax evaluate`."""

from tempo_jax.cli import command, evaluate

if __name__ == '__main__':
  command.launch(evaluate)
