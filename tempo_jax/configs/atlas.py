"""ATLAS with the MDGen split (paper, section 8): 300 K, three replicas of 100 ns.

The paper does not say which strides it used; from the 10-ps or 100-ps frames we take 4 ns for
the coarse level (25 states in 100 ns) and 0.2 ns for the fine one: a ratio of 20, as on mdCATH,
and a coarse step within a quarter of a replica.

Prepare: tempo-jax prepare atlas --raw_dir=RAW --store=STORE --stride_ns=0.2
Launch:  tempo-jax train --config=atlas:scale=coarse \
           --workdir=RUN/coarse --config.data.store=STORE
         Repeat with scale=fine and RUN/fine; sample with --model=RUN --temperature_K=300.
Variants: scale=coarse|fine|both, dynamics=ours|paper.
Cost: the compiled step at 256 residues and 5.4 million parameters (ours: 0.35 million more)
needs 4.6 GiB (dynamics=ours) or 3.2 GiB (paper).
Expect: unknown; so far trained on small synthetic stores only, never on the full dataset.
"""

from tempo_jax import config as config_lib
from tempo_jax.configs import common


def get_config(variant: str = ''):
  """Returns the configuration."""
  options = common.parse_variant(variant, {'scale': 'both', 'dynamics': 'ours'})
  model = config_lib.model_config_of(options['dynamics'], {'coarse': 4.0, 'fine': 0.2})
  config = common.experiment(model, options['scale'])
  config.data.batch_size = 16
  config.data.aligned_starts = ('coarse',) if options['dynamics'] == 'paper' else ()
  config.data.validation_block = (0.0, 1.0)
  return config
