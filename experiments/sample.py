"""`python -m experiments.sample` is the command `tempo-jax sample`."""

from tempo_jax.cli import command, sample

if __name__ == '__main__':
  command.launch(sample)
