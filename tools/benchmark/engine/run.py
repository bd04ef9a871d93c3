"""The engine against the published way of running a memory network: speed, equality, memory, answers to corrections.

Each figure comes from a process of its own. The two ways take turns in one run, so that a ratio means something on a
machine that others use too. `engine.json` is written after each part.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.benchmark.engine import jobs
from tools.benchmark.engine.cases import EngineCase, slab_of_phantom
from tools.benchmark.model import ModelSpec
from tools.console import say
from tools.files import whole_file, write_json
from volumes.errors import InputError

PARTS = ("speed", "equality", "memory", "correction")
CONFIGS = ("small", "paper")
MEMORY_SLICES = (100, 300, 1000)
MEMORY_LABELS = (5, 13)
MEMORY_EVERY = 50  # slices from key slice to key slice
MEDIANS = ("seconds", "cpu_seconds", "start_bytes", "peak_bytes", "dice")
CORRECTION_LABELS, CORRECTIONS = 6, 6
NAMES = {
    jobs.ENGINE: "engine",
    jobs.COARSE: "engine, 1.5 mm pixels",
    jobs.COMPAT: "published way",
    jobs.GATHERED: "published way, values gathered",
}
_COLOURS = {jobs.ENGINE: "#c1272d", jobs.COARSE: "#e58b8e", jobs.COMPAT: "#0072b2", jobs.GATHERED: "#7fb8d8"}
Say = Callable[[str], None]


def run(
    out: Path,
    *,
    configs: Sequence[str] = CONFIGS,
    weights: Path | None = None,
    parts: Sequence[str] = PARTS,
    repeats: int = 1,
    size: int = 512,
    depth: int = 40,
    memory_slices: Sequence[int] = MEMORY_SLICES,
    memory_every: int = MEMORY_EVERY,
    corrections: int = CORRECTIONS,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run the benchmark; write `engine.json`, `engine.md` and `engine.png` into `out`.

    Args:
        configs: of `CONFIGS`. Memory, corrections and precision are measured with `small` alone: untrained
            weights would say nothing of them.
        weights: of `small`; None takes those that ship.
        parts: of `PARTS`.
        repeats: turns of each way; medians count.
        size: pixels of a slice, each way; memory is measured with half of it.
        depth: slices; corrections are measured on half as many again.
        memory_slices: numbers of slices, rising.

    Returns:
        What is in `engine.json`.

    Raises:
        InputError: an unknown part or configuration.
    """
    _check("--config", configs, CONFIGS)
    _check("--parts", parts, PARTS)
    report: Say = (lambda _: None) if quiet else say
    out.mkdir(parents=True, exist_ok=True)
    small, paper = ModelSpec("small", weights), ModelSpec("paper")
    results: dict[str, Any] = {"about": {**jobs.in_own_process(jobs.about, small), "size": size, "depth": depth}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def case(kind: str, size: int, depth: int) -> Path:
            path = folder / kind
            return path if path.is_dir() else jobs.in_own_process(save_slab, path, size, depth)

        def done(part: str, found: dict[str, Any]) -> None:
            results[part] = found
            write_json(out / "engine.json", results)

        if "speed" in parts:
            speed_case = case("speed", size, depth)
            done(
                "speed",
                {
                    spec.config: _speed(speed_case, spec, repeats, report)
                    for spec in (small, paper)
                    if spec.config in configs
                },
            )
        if "equality" in parts:
            found: dict[str, Any] = {}
            if "paper" in configs:
                report("equality: STCN, float32, whole slices")
                found["stcn"] = jobs.in_own_process(jobs.equality, paper)
            if "small" in configs:
                found["precision"] = _precision(case("speed", size, depth), small, folder, report)
            done("equality", found)
        if "memory" in parts and "small" in configs:
            done("memory", _memory(case("memory", size // 2, depth), small, memory_slices, memory_every, report))
        if "correction" in parts and "small" in configs:
            report("corrections")
            path = case("correction", size, depth * 3 // 2)
            done("correction", jobs.in_own_process(jobs.correction, path, small, CORRECTION_LABELS, corrections))
    text = markdown(results)
    with whole_file(out / "engine.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    if "speed" in results or "memory" in results:
        draw(results, out / "engine.png")
    report("\n" + text)
    return results


def save_slab(path: Path, size: int, depth: int) -> Path:
    """A case for the other processes, made in one of its own: drawing a phantom takes memory."""
    return slab_of_phantom(size, depth).save(path)


def _speed(folder: Path, spec: ModelSpec, repeats: int, report: Say) -> dict[str, Any]:
    case = EngineCase.load(folder)
    turns: dict[str, list[dict[str, Any]]] = {way: [] for way in jobs.WAYS[spec.config]}
    for turn in range(repeats):
        for way in turns:
            found = jobs.in_own_process(jobs.speed, folder, spec, way)
            turns[way].append(found)
            report(f"speed: {spec.config}, {NAMES[way]}, turn {turn + 1} of {repeats}: {found['seconds']:.1f} s")
    ways = {
        way: {name: statistics.median(turn[name] for turn in found) for name in MEDIANS} | {"turns": found}
        for way, found in turns.items()
    }
    first = ways[jobs.ENGINE]
    return {
        "shape": list(case.volume.shape),
        "spacing": list(case.volume.spacing),
        "key_slices": list(case.given),
        "slices_by_label": {str(label): count for label, count in case.slices_by_label().items()},
        "labels": len(case.key_slices.labels),
        "truth_fed": first["turns"][0]["truth_fed"],
        "precision": first["turns"][0]["precision"],
        "ways": ways,
        "ratios": {
            way: {
                "seconds": found["seconds"] / first["seconds"],
                "cpu_seconds": found["cpu_seconds"] / first["cpu_seconds"],
                "peak": found["peak_bytes"] / first["peak_bytes"],
                "dice_lost": found["dice"] - first["dice"],
            }
            for way, found in ways.items()
            if way != jobs.ENGINE
        },
    }


def _precision(folder: Path, spec: ModelSpec, work: Path, report: Say) -> dict[str, Any]:
    """bfloat16 against float32."""
    files = {name: work / f"{name}.npy" for name in ("float32", "bfloat16")}
    found: dict[str, Any] = {}
    for name, path in files.items():
        report(f"equality: small, {name}")
        found[name] = jobs.in_own_process(jobs.precision, folder, spec, name, path)
    return {**found, "between": jobs.in_own_process(jobs.compare, folder, files["float32"], files["bfloat16"])}


def _memory(folder: Path, spec: ModelSpec, depths: Sequence[int], every: int, report: Say) -> dict[str, Any]:
    few, many = MEMORY_LABELS
    runs = []
    for depth in depths:
        runs.append(jobs.in_own_process(jobs.memory, folder, spec, depth, few, every))
        report(f"memory: {depth} slices, {runs[-1]['labels']} labels: {_mb(runs[-1]['beyond_bytes'])} MB beyond them")
    middle = len(depths) // 2
    more = jobs.in_own_process(jobs.memory, folder, spec, depths[middle], many, every)
    report(f"memory: {depths[middle]} slices, {more['labels']} labels: {_mb(more['beyond_bytes'])} MB beyond them")
    return {
        "runs": runs,
        "more_labels": more,
        "growth_percent": _growth(runs[0], runs[-1], "beyond_bytes"),
        "working_growth_percent": _growth(runs[0], runs[-1], "working_bytes"),
        "labels_growth_percent": _growth(runs[middle], more, "beyond_bytes"),
    }


def _growth(before: dict[str, Any], after: dict[str, Any], name: str) -> float:
    return 100 * (after[name] / before[name] - 1)


def markdown(results: dict[str, Any]) -> str:
    """The results as Markdown tables."""
    about = results["about"]
    lines = ["# The engine against the published way", "", f"{about['machine']}, torch {about['torch']}."]
    for config, one in results.get("speed", {}).items():
        lines += _speed_lines(config, one)
    if "equality" in results:
        lines += _equality_lines(results["equality"])
    if "memory" in results:
        lines += _memory_lines(results["memory"])
    if "correction" in results:
        lines += _correction_lines(results["correction"])
    return "\n".join(lines) + "\n"


def _speed_lines(config: str, one: dict[str, Any]) -> list[str]:
    depth, height, width = one["shape"]
    labels = ", ".join(f"{label}: {count}" for label, count in one["slices_by_label"].items())
    lines = [
        "",
        f"## Speed, `{config}`",
        "",
        f"{depth} slices of {height} x {width}, key slices {', '.join(map(str, one['key_slices']))}, "
        f"{one['labels']} labels. Slices of each label: {labels}. The engine computes in {one['precision']}.",
    ]
    if one["truth_fed"]:
        lines.append("Untrained weights; the true masks are handed on in place of what they say, in every row.")
    lines += [
        "",
        "| | seconds | processor seconds | peak MB | mean Dice | time / engine |",
        "|---|---|---|---|---|---|",
    ]
    for way, found in one["ways"].items():
        ratio = f"{one['ratios'][way]['seconds']:.1f}" if way in one["ratios"] else "–"
        lines.append(
            f"| {NAMES[way]} | {found['seconds']:.1f} | {found['cpu_seconds']:.1f} | {_mb(found['peak_bytes'])} "
            f"| {found['dice']:.4f} | {ratio} |"
        )
    return lines


def _equality_lines(found: dict[str, Any]) -> list[str]:
    lines = ["", "## Equality", "", "| | |", "|---|---|"]
    if "stcn" in found:
        one = found["stcn"]
        lines += [
            f"| STCN, float32, same rules, largest difference of a probability ({one['steps']} steps) "
            f"| {one['largest_difference']:.1e} |",
            f"| of the first step | {one['first_step_difference']:.1e} |",
            f"| voxels that differ ({one['labelled_share']:.0%} are labelled) | {one['differing_share']:.3%} |",
            f"| voxels that differ from `compat` beside a key slice ({one['compat_labelled_share']:.0%} are labelled) "
            f"| {one['compat_differing_share']:.3%} |",
        ]
    if "precision" in found:
        one, between = found["precision"], found["precision"]["between"]
        lines += [
            f"| `small`, bfloat16 against float32, mean Dice | {between['dice']:.4f} |",
            f"| lowest of a label | {between['lowest_dice']:.4f} |",
            f"| labelled voxels that differ | {between['differing_share_of_labelled']:.3%} |",
            f"| mean Dice against the truth: float32, bfloat16 "
            f"| {one['float32']['dice']:.4f}, {one['bfloat16']['dice']:.4f} |",
            f"| seconds: float32, bfloat16 | {one['float32']['seconds']:.1f}, {one['bfloat16']['seconds']:.1f} |",
        ]
    return lines


def _memory_lines(found: dict[str, Any]) -> list[str]:
    lines = [
        "",
        "## Memory",
        "",
        "Beyond: without the volume and the label map. Working: also without what was there before the work.",
        "",
        "| slices | labels | key slices | peak MB | beyond MB | working MB | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in [*found["runs"], found["more_labels"]]:
        sizes = " | ".join(_mb(one[name]) for name in ("peak_bytes", "beyond_bytes", "working_bytes"))
        lines.append(f"| {one['slices']} | {one['labels']} | {one['key_slices']} | {sizes} | {one['seconds']:.1f} |")
    first, last = found["runs"][0]["slices"], found["runs"][-1]["slices"]
    lines += [
        "",
        f"{first} to {last} slices: {found['growth_percent']:+.1f} % beyond, "
        f"{found['working_growth_percent']:+.1f} % working. "
        f"{found['more_labels']['labels']} labels for {found['runs'][0]['labels']}: "
        f"{found['labels_growth_percent']:+.1f} % beyond.",
    ]
    return lines


def _correction_lines(found: dict[str, Any]) -> list[str]:
    reach = found["reach"]
    return [
        "",
        "## Corrections",
        "",
        f"`small`, {found['labels']} labels, one of them corrected on one slice, features cached; medians of "
        f"{len(found['corrections'])}. The whole volume takes {found['whole_volume']:.1f} s.",
        "",
        f"| first slice | ±{reach} slices shown | ±{reach} slices settled | all |",
        "|---|---|---|---|",
        f"| {found['first']:.2f} s | {found['shown']:.2f} s | {found['settled']:.2f} s | {found['all']:.2f} s |",
    ]


def draw(results: dict[str, Any], path: Path) -> None:
    """Bars of time, lines of memory, as a PNG (whole or not at all)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    speeds = results.get("speed", {})
    count = len(speeds) + ("memory" in results)
    figure = Figure(figsize=(4.2 * count + 0.4, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, count, squeeze=False)[0]
    for panel, (config, one) in zip(panels, speeds.items(), strict=False):
        ways = list(one["ways"])
        seconds = [one["ways"][way]["seconds"] for way in ways]
        bars = panel.barh([NAMES[way] for way in ways], seconds, color=[_COLOURS[way] for way in ways], height=0.6)
        panel.bar_label(bars, [f"{value:.0f} s" if value >= 10 else f"{value:.1f} s" for value in seconds], padding=3)
        panel.set_xlim(0, 1.2 * max(seconds))
        panel.invert_yaxis()
        panel.set_title(f"{config}: {one['shape'][0]} slices, {one['labels']} labels", fontsize=11)
        panel.set_xlabel("seconds")
    if "memory" in results:
        panel, found = panels[-1], results["memory"]
        runs, more = found["runs"], found["more_labels"]
        slices = [one["slices"] for one in runs]
        labels = runs[0]["labels"]
        for name, text, colour in (("peak_bytes", "peak", "#555555"), ("beyond_bytes", "beyond them", "#c1272d")):
            values = [one[name] / 2**20 for one in runs]
            panel.plot(slices, values, marker="o", color=colour, label=f"{text}, {labels} labels")
        panel.plot(
            [more["slices"]],
            [more["beyond_bytes"] / 2**20],
            marker="D",
            linestyle="",
            color="#c1272d",
            label=f"beyond them, {more['labels']} labels",
        )
        panel.set_ylim(0)
        panel.set_title("memory, with and beyond volume and labels", fontsize=11)
        panel.set_xlabel("slices")
        panel.set_ylabel("MB")
        panel.grid(alpha=0.25)
        panel.legend(frameon=False, fontsize=9)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _mb(size: float) -> str:
    return f"{size / 2**20:,.0f}"


def _check(option: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise InputError(option, found=f"'{name}'", expected=f"of {', '.join(known)}", fix="correct the name")
