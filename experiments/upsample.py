"""`python -m experiments.upsample` is the command `tempo-jax upsample`."""

from tempo_jax.cli import command, upsample

if __name__ == '__main__':
  command.launch(upsample)
