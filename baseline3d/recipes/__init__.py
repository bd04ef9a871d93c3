"""Self-training of 3D networks: four published recipes over one engine (`baseline3d.recipes.run`)."""
