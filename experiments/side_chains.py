"""`python -m experiments.side_chains` is the command `tempo-jax side-chains`."""

from tempo_jax.cli import command, side_chains

if __name__ == '__main__':
  command.launch(side_chains)
