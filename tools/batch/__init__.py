"""Many volumes at once: on the cores or GPUs of one machine, or on a cluster; a run that stopped goes on."""
