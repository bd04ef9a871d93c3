"""`python -m tools.benchmark`: benchmarks on real CT."""

from tools.benchmark.commands import app

if __name__ == "__main__":
    app()
