"""`python -m tempo_jax` is the command `tempo-jax`."""

from tempo_jax.cli import main

if __name__ == '__main__':
  main.run()
