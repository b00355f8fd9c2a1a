"""`python -m data_prep.mdcath` is the command `tempo-jax prepare mdcath`."""

from tempo_jax.cli import command, prepare_mdcath

if __name__ == '__main__':
  command.launch(prepare_mdcath)
