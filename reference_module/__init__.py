"""The pair of 2D networks that finds and segments key slices: TransUNet and DeepLabV3+."""
