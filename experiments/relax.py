"""`python -m experiments.relax` is the command `tempo-jax relax`."""

from tempo_jax.cli import command, relax

if __name__ == '__main__':
  command.launch(relax)
