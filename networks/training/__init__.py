"""What training has in common, whatever learns: losses, cases on disk, streams of them, the run itself."""
