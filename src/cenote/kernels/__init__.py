"""Arrays to arrays: the fastest formulation for each shape and device, with its own derivative where that pays."""
