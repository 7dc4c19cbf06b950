"""`make bench-policy` stands apart from the relay, and breaks unseen when the engine changes."""

import importlib.util
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench/policy.py"


def test_the_bench_of_rules_prints_what_they_cost(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("bench_policy", BENCH)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    monkeypatch.setattr(bench, "SECONDS", 0.001)
    monkeypatch.setattr(bench, "COUNTS", ((3, 0), (3, 1)))
    bench.main()
    *_, plain, matching = capsys.readouterr().out.splitlines()
    assert plain.startswith("| 3 | ")
    assert matching.startswith("| 3, 1 of them `matches` | ")
    for row in plain, matching:
        assert all(float(cell) > 0 for cell in row.strip("| ").split(" | ")[1:])
