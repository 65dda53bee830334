"""Networks, losses, one training loop, recipes, export to bundles. The only place that trains."""
