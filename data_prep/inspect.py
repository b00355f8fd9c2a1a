"""`python -m data_prep.inspect` is the command `tempo-jax prepare inspect`."""

from tempo_jax.cli import command, prepare_inspect

if __name__ == '__main__':
  command.launch(prepare_inspect)
