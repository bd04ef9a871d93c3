"""What every network of ours needs: configurations, weights files and training runs."""
