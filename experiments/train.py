"""`python -m experiments.train` is the command `tempo-jax train`."""

from tempo_jax.cli import command, train

if __name__ == '__main__':
  command.launch(train)
