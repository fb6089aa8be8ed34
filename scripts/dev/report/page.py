# SPDX-License-Identifier: Apache-2.0
"""Turns the results of scripts/dev/bench-report into docs/performance.md, CSV files and pictures."""

import csv
import io
import os
import shutil
import subprocess

MARK = "<!-- Below this line the page is written by hand; scripts/dev/bench-report keeps it. -->"
NOTES = f"""{MARK}

## Notes

Nothing is noted yet: what was tried and lost, and what is left where a target is missed.
"""
KINDS = {"q4_0": "Q4_0", "q4_k_m": "Q4_K_M", "q8_0": "Q8_0", "q6_k": "Q6_K", "bf16": "BF16", "f16": "F16"}


def save(path, text):
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)


def number(value, digits=3):
    """Three figures, no exponent: 0.0123, 1.23, 123, 12345."""
    if value is None:
        return ""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e" in text else text


def percent(value):
    return "" if value is None else f"{100 * value:.1f} %"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]) + "\n"


def verdict(value, floor, goal, lower_is_better=False):
    if value is None or floor is None:
        return ""
    sign = -1 if lower_is_better else 1
    if sign * value >= sign * goal:
        return "goal"
    return "floor" if sign * value >= sign * floor else "**missed**"


def have(results, name):
    """What a step gave; None when it was not measured."""
    found = results.get(name)
    return None if found is None or "missing" in found else found


def decoded(results, kind):
    """The step that measured decoding alone; where there is none, the one that measured it behind a prompt."""
    return have(results, f"decode-{kind}") or have(results, f"paired-{kind}") or have(results, f"alone-{kind}")


def faster(step, figure):
    """The comparison with the peer that is faster by its own median; None without peers."""
    lines = [c for c in step["compare"] if c.get(f"their_{figure}_tokens_per_second")]
    return max(lines, key=lambda c: c[f"their_{figure}_tokens_per_second"]) if lines else None


# ---- Targets: (what, measured, floor, goal, verdict)

def ratio_text(line, figure):
    ratio = f"{figure}_ratio"
    bounds = f", bounds {number(line[ratio + '_low'])} and {number(line[ratio + '_high'])}" if ratio + "_low" in line else ""
    return (f"{number(line[ratio])}× {line['command']} ({number(line[ratio + '_min'])} to {number(line[ratio + '_max'])}"
            f"{bounds}; {line['pairs']} pairs)")


def paired_targets(results):
    for kind in ("q4_0", "q4_k_m", "q8_0"):
        step = have(results, f"paired-{kind}")
        line = step and faster(step, "prefill")
        if line:
            yield (f"prefill, {KINDS[kind]}, against the faster peer", ratio_text(line, "prefill"), "1.3×", "1.8×",
                   verdict(line["prefill_ratio"], 1.3, 1.8))
    for kind in ("q4_0", "q4_k_m", "q8_0"):
        step, alone = have(results, f"paired-{kind}"), have(results, f"products-{kind}")
        if step:
            value = step["bench"].get("prefill_share_of_product_limit")
            yield (f"prefill, {KINDS[kind]}, share of its product limit", percent(value), "60 %", "75 %", verdict(value, .6, .75))
        if alone:
            yield (f"matrix products alone, {KINDS[kind]}", percent(alone["share"]), "72 %", "85 %",
                   verdict(alone["share"], .72, .85))
    for kind in ("bf16", "f16"):
        step = have(results, f"alone-{kind}")
        if step:
            value = step["bench"].get("prefill_share_of_product_limit")
            yield (f"prefill, {KINDS[kind]}, share of the bf16 limit", percent(value), "80 %", "90 %", verdict(value, .8, .9))


def decode_targets(results):
    for kind in KINDS:
        step = decoded(results, kind)
        if step:
            value = step["bench"].get("decode_share_of_read_limit")
            yield (f"decode, {KINDS[kind]}, bytes touched over the read limit", percent(value), "93 %", "98 %",
                   verdict(value, .93, .98))
    for kind in ("q4_0", "q4_k_m", "q8_0"):
        step = decoded(results, kind)
        line = step and faster(step, "decode")
        if line:
            yield (f"decode, {KINDS[kind]}, against the faster peer, lower bound", ratio_text(line, "decode"), "0.98", "1.02",
                   verdict(line.get("decode_ratio_low"), .98, 1.02) or "no bound: too few pairs")


def window_targets(results):
    step = have(results, "sixteen")
    if step:
        yield ("16 sequences decoding, Q4_0, against one", f"{number(step['ratio'])}× ({number(step['least'])} to "
               f"{number(step['most'])}; {step['rounds']} pairs)", "4.5×", "6.5×", verdict(step["ratio"], 4.5, 6.5))
    step = have(results, "window-decode")
    if step:
        slower = 1 - step["ratio"]
        yield (f"decode at {step['deep']} with W={step['window']}, against {step['near']}",
               f"{percent(slower)} slower (quartiles {percent(1 - step['most'])} to {percent(1 - step['least'])}; "
               f"{step['rounds']} pairs)", "5 %", "2 %", verdict(slower, .05, .02, True))
    step = have(results, "window-attention")
    if step:
        yield (f"attention of a {step['prompt']} prefill, W={step['window']} against none (ceiling "
               f"{number(step['ceiling'])})", f"{number(step['ratio'])}×", "1.9×", "2.2×", verdict(step["ratio"], 1.9, 2.2))


def other_targets(results):
    step = have(results, "first-token")
    if step:
        yield (f"load to first token, 16-token prompt, {step['file_bytes'] / 1e9:.1f} GB file in page cache",
               f"{number(step['seconds'])} s (best {number(step['least'])})", "1.2 s", "0.6 s",
               verdict(step["seconds"], 1.2, .6, True))
        more = step["peak_bytes"] / step["file_and_cache_bytes"] - 1
        yield ("peak memory, one device, over file + cache", f"{step['peak_bytes'] / 1e9:.2f} GB, {percent(more)}", "10 %",
               "5 %", verdict(more, .1, .05, True))
    step = have(results, "smollm2")
    if step:
        shares = [step["bench"].get(f"decode_share_of_{name}_limit") for name in ("read", "cache")]
        value = max((s for s in shares if s), default=None)
        yield ("SmolLM2 decode, share of the lower of the read and the cache limit", percent(value), "70 %", "85 %",
               verdict(value, .7, .85))
    step = have(results, "version")
    if step:
        yield ("`gregale --version`", f"{1000 * step['seconds']:.1f} ms", "10 ms", "5 ms",
               verdict(step["seconds"], .010, .005, True))
    step = have(results, "lua")
    base = have(results, "smollm2")
    if step and base:
        share = max(step["seconds_a_token"], 0) * base["bench"]["decode_tokens_per_second"]
        yield ("Lua's share of a decode step of SmolLM2", f"{percent(share)} ({1e6 * step['seconds_a_token']:.1f} µs)", "1 %",
               "0.5 %", verdict(share, .01, .005, True))


# ---- Tables

def limits_table(limits):
    rows = []
    for name, key, unit in (("memory read", "read_bytes", "GB/s"), ("shared cache read", "shared_cache_bytes", "GB/s"),
                            ("own cache read", "own_cache_bytes", "GB/s"), ("int8", "int8_operations", "Gop/s"),
                            ("4-bit by 8-bit", "int4_operations", "Gop/s"), ("bf16", "bf16_operations", "Gop/s"),
                            ("f32", "f32_operations", "Gop/s")):
        if key + "_per_second" in limits:
            rows.append((name, f"{limits[key + '_per_second'] / 1e9:.1f} {unit}", limits[key + "_mix"]))
    return table(("Limit", "Measured", "By"), rows)


def speed_rows(results):
    for kind, name in KINDS.items():
        step, alone = have(results, f"paired-{kind}") or have(results, f"alone-{kind}"), decoded(results, kind)
        if not step:
            continue
        ours = step["bench"]
        yield (name, "gregale", number(ours.get("prefill_tokens_per_second")),
               number(alone["bench"].get("decode_tokens_per_second")), percent(ours.get("prefill_share_of_product_limit")),
               percent(alone["bench"].get("decode_share_of_read_limit")), "", "")
        other_by_name = {c["command"]: c for c in alone["compare"]}
        for line in step["compare"]:
            other = other_by_name.get(line["command"], line)
            yield (name, line["command"], number(line.get("their_prefill_tokens_per_second")),
                   number(other.get("their_decode_tokens_per_second")), "", "", number(line.get("prefill_ratio")),
                   number(other.get("decode_ratio")))


def work_rows(results):
    for kind, name in KINDS.items():
        step = have(results, f"paired-{kind}") or have(results, f"alone-{kind}")
        if step:
            w = step["bench"]
            yield (name, w["prompt"], number(w.get("prefill_product_operations", 0) / 1e9, 4),
                   number(w.get("prefill_attention_operations", 0) / 1e9, 4), number(w["weight_bytes_a_step"] / 1e6, 4),
                   number(w["cache_bytes_a_step"] / 1e6, 4))


def where(e):
    lines = [f"Measured {e['date']} on {e['processor']}, {e['cores']} cores, {e['memory_bytes'] / 2**30:.0f} GiB, Linux "
             f"{e['system']}; {e['threads']} threads. {e['gregale']}."]
    for name, peer in e["peers"].items():
        lines.append(f"- {name}: {peer['version']}; flags `{peer['flags']}`, `-t {e['threads']}`")
    if e["quick"]:
        lines.append("\n**A quick run: four layers, short prompts, few rounds. It shows that everything works; its figures are no "
                     "verdict.**")
    return "\n".join(lines) + "\n"


def page(results, pictures):
    missing = [f"{name} ({r['missing']})" for name, r in results.items() if isinstance(r, dict) and "missing" in r]
    targets = [*paired_targets(results), *decode_targets(results), *window_targets(results), *other_targets(results)]
    out = io.StringIO()
    out.write("# Performance\n\nWritten by `scripts/dev/bench-report`. Ratios are ours over theirs, paired within alternating "
              "rounds of one run; bounds\nare of the median, one-sided at 95 % each, by signs. Shares are of limits sampled in the "
              "same rounds.\ndocs/command-line.md says how each is counted.\n\n")
    out.write(where(results["environment"]))
    out.write("\n## Targets\n\n" + table(("What", "Measured", "Floor", "Goal", "Reached"), targets))
    if missing:
        out.write("\nNot measured: " + "; ".join(missing) + ".\n")
    if have(results, "limits"):
        out.write("\n## Limits\n\n" + limits_table(results["limits"]))
    out.write("\n## Speed\n\nTokens a second, Mistral 7B shapes.\n\n" + table(
        ("Weights", "Program", "Prefill", "Decode", "Of the product limit", "Of the read limit", "Prefill ratio",
         "Decode ratio"), speed_rows(results)))
    out.write("\nWhat that takes: operations of the whole prompt, bytes of one step of decoding.\n\n" + table(
        ("Weights", "Prompt", "Products, Gop", "Attention, Gop", "Weights, MB", "Cache, MB"), work_rows(results)))
    for title, name in (("By context length", "by-context"), ("By batch", "by-batch")):
        if isinstance(results.get(name), list):
            out.write(f"\n## {title}\n\n[{name}.csv](performance/{name}.csv); four layers, Q4_0.\n")
            if f"{name}.svg" in pictures:
                out.write(f"\n![{title}](performance/{name}.svg)\n")
    if "speed.svg" in pictures:
        out.write("\n## By weights\n\n![Prefill by weights](performance/speed.svg)\n")
    return out.getvalue()


# ---- CSV files and pictures

def write_csv(path, rows):
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    save(path, text.getvalue())
    return columns


def speed_csv(results):
    rows = []
    for kind, name in KINDS.items():
        step = have(results, f"paired-{kind}")
        if step:
            row = {"weights": name, "gregale": step["bench"].get("prefill_tokens_per_second")}
            row |= {c["command"]: c.get("their_prefill_tokens_per_second") for c in step["compare"]}
            rows.append(row)
    return rows


def plot(folder, name, columns, x_label, y_label, bars):
    """Draws columns of NAME.csv as NAME.svg; False when gnuplot is not there."""
    if not shutil.which("gnuplot"):
        return False
    drawn = [i for i, column in enumerate(columns, 1) if i > 1 and "share" not in column]
    style = "set style data histograms; set style fill solid 0.8; set boxwidth 0.9" if bars else "set logscale x 2"
    series = ", ".join(f"'{name}.csv' using {i}:xtic(1) title '{columns[i - 1]}'" if bars else
                       f"'{name}.csv' using 1:{i} with linespoints title '{columns[i - 1]}'" for i in drawn)
    script = (f"set datafile separator ','; set key autotitle columnhead; set term svg size 720,400 noenhanced; set grid y; "
              f"set yrange [0:*]; set key outside; set xlabel '{x_label}'; set ylabel '{y_label}'; {style}; "
              f"set output '{name}.svg'; plot {series}")
    return subprocess.run(["gnuplot", "-e", script], cwd=folder, capture_output=True).returncode == 0


def write(results, output):
    folder = os.path.join(output, "performance")
    pictures = set()
    for name, rows, x_label, bars in (("by-context", results.get("by-context"), "tokens before", False),
                                      ("by-batch", results.get("by-batch"), "sequences", False),
                                      ("speed", speed_csv(results), "weights", True)):
        if isinstance(rows, list) and rows:
            columns = write_csv(os.path.join(folder, f"{name}.csv"), rows)
            if plot(folder, name, columns, x_label, "tokens a second", bars):
                pictures.add(f"{name}.svg")
    path = os.path.join(output, "performance.md")
    by_hand = NOTES
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            _, mark, rest = file.read().partition(MARK)
        by_hand = mark + rest if mark else NOTES
    save(path, page(results, pictures) + "\n" + by_hand)
