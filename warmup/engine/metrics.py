"""What /metrics shows: the state, the user's requests, the runner's own counters."""

from __future__ import annotations

from collections import Counter, defaultdict

from warmup.engine.states import State


class Metrics:
    """What /metrics shows of the user's requests. Warm-ups are not theirs."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.held = 0
        self.rejected = 0

    def render(self, state: State, stats: dict[str, float], num_waiting: int) -> str:
        """Prometheus text format 0.0.4. stats: the runner's own. num_waiting: sent to the ranks."""
        lines = ["# TYPE warmup_state gauge"]
        lines += [f'warmup_state{{state="{each.value}"}} {int(each is state)}' for each in State]
        lines.append("# TYPE requests_total counter")
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'requests_total{{path="{path}",status="{status}"}} {count}')
        lines.append("# TYPE request_seconds_total counter")
        for path, seconds in sorted(self.seconds.items()):
            lines.append(f'request_seconds_total{{path="{path}"}} {seconds:.6f}')
        lines += ["# TYPE requests_held gauge", f"requests_held {self.held}"]
        lines += ["# TYPE requests_waiting gauge", f"requests_waiting {num_waiting}"]
        lines += ["# TYPE requests_rejected_total counter"]
        lines += [f"requests_rejected_total {self.rejected}"]
        for name, value in sorted(stats.items()):
            lines += [f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"]
            lines += [f"{name} {value:g}"]
        return "\n".join(lines) + "\n"
