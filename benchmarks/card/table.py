"""The measurement as markdown, from its JSON alone."""

from __future__ import annotations

from typing import Any

from hdit_repro.errors import counted

NOT = "not measured"


def render(tree: dict[str, Any]) -> str:
    """All tables of one file of measurements."""
    machine, parts = tree["machine"], tree["parts"]
    lines = [f"# {machine['card']}", ""]
    if tree["tiny"]:
        lines += [
            "**Tiny: small networks for a moment each. Shows that everything runs; the numbers mean nothing.**",
            "",
        ]
    dirty = ", changed since" if machine["dirty"] else ""
    lines += [
        f"- driver {machine['driver'] or 'none'}, CUDA {machine['cuda'] or 'none'}, torch {machine['torch']}, "
        f"Python {machine['python']}, natten {machine['packages'].get('natten', 'none')}",
        f"- commit {machine['commit']}{dirty}; began {machine['began']}",
        f"- `{machine['command']}`",
        "",
    ]
    for section in (_best, _training, _attention, _sampling, _left_out):
        lines += section(parts)
    return "\n".join(lines).rstrip() + "\n"


def grid(headers: list[str], rows: list[list[str]]) -> list[str]:
    """A markdown table and an empty line."""
    line = lambda cells: "| " + " | ".join(cells) + " |"  # noqa: E731
    return [line(headers), line(["---"] + ["---:"] * (len(headers) - 1)), *(line(row) for row in rows), ""]


def number(value: Any, form: str = ".4g", factor: float = 1.0) -> str:
    return NOT if value is None else format(value * factor, form)


def _best(parts: dict[str, Any]) -> list[str]:
    def value(name: str, key: str) -> Any:
        return parts.get(name, {}).get(key)

    rows = [
        ["bfloat16 product, TFLOP/s", number(value("matrix/bfloat16", "flops_per_s"), factor=1e-12)],
        ["float32 product, TFLOP/s", number(value("matrix/float32", "flops_per_s"), factor=1e-12)],
        ["copy, GB/s read and written", number(value("copy", "bytes_per_s"), factor=1e-9)],
        ["normal numbers by key, 10⁹/s", number(value("noise", "numbers_per_s"), factor=1e-9)],
        ["the same by torch.randn", number(value("noise", "torch_numbers_per_s"), factor=1e-9)],
        ["Inception float32, images/s", number(value("inception/float32", "images_per_s"))],
        ["Inception bfloat16, images/s", number(value("inception/bfloat16", "images_per_s"))],
    ]
    return ["## At best", "", *grid(["what", "measured"], rows)]


def _training(parts: dict[str, Any]) -> list[str]:
    rows = [
        [
            part["run"], _how(part), str(part["batch"]),
            number(part["step_s"], ".1f", 1000), number(part["images_per_s"]), number(part["mfu_measured"], ".1%"),
            number(part["mfu_data_sheet"], ".1%"), number(part["memory_gib"], ".1f"),
            number(part["memory_gib_estimate"], ".1f"), number(part["parameters"], ".1f", 1e-6),
        ]
        for name, part in parts.items() if name.startswith("train/") and "step_s" in part
    ]  # fmt: skip
    headers = ["training step", "how", "batch", "ms", "images/s", "MFU, of measured", "MFU, of data sheet",
               "peak GiB", "estimated GiB", "10⁶ parameters"]  # fmt: skip
    note = (
        "Graphs: into how many the compiler cut a network; one, but for dropout, which is not compiled. "
        "MFU: MACs × 2 × 3 × images/s, over the measured rate of a bfloat16 product and over the data sheet's."
    )
    return ["## Training", "", *grid(headers, rows or [[NOT] + [""] * 9]), note, ""]


def _how(part: dict[str, Any]) -> str:
    return f"compiled, {counted(part['graphs'], 'graph')}" if part["compiled"] else "eager"


def _attention(parts: dict[str, Any]) -> list[str]:
    rows = []
    for name, part in parts.items():
        if not name.startswith("attention/") or "backends" not in part:
            continue
        floor = part["floor"] or {}
        for title, times in part["backends"].items():
            forward, both = times.get("forward_s"), times.get("both_s")
            back = None if both is None or forward is None else both - forward
            rows.append(
                [
                    f"{part['run']}, level {part['level']}", "×".join(map(str, part["shape"])), title,
                    number(forward, ".3f", 1000), number(floor.get("forward_s"), ".3f", 1000),
                    number(back, ".3f", 1000), number(floor.get("backward_s"), ".3f", 1000),
                    times.get("error", ""),
                ]
            )  # fmt: skip
    headers = ["attention", "B×H×W×N×E", "backend", "forward ms", "floor", "backward ms", "floor", "failed"]
    note = (
        "Floor: the tensors that must be read and written, over the measured copy rate. "
        "Dense: every token sees every token."
    )
    return ["## Attention", "", *grid(headers, rows or [[NOT] + [""] * 7]), note, ""]


def _sampling(parts: dict[str, Any]) -> list[str]:
    rows = [
        [part["run"], part["how"], str(part["batch"]), str(part["calls"]), number(part["images_per_s"]),
         number(part["seconds"] / part["calls"], ".2f", 1000)]
        for name, part in parts.items() if name.startswith("sample/") and "seconds" in part
    ]  # fmt: skip
    headers = ["sampler of", "network", "batch", "calls", "images/s", "ms a call"]
    return ["## Sampling", "", *grid(headers, rows or [[NOT] + [""] * 5])]


def _left_out(parts: dict[str, Any]) -> list[str]:
    lines = [
        f"- {name}: {part.get('error') or part['skipped']}"
        for name, part in parts.items() if part.get("error") or part.get("skipped")
    ]  # fmt: skip
    return ["## Left out", "", *lines, ""] if lines else []
