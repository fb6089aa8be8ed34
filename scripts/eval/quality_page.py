# SPDX-License-Identifier: Apache-2.0
"""Turns the results of scripts/eval/quality into docs/quality.md, a CSV file and a picture."""

import io
import os
import shutil
import subprocess

from page import have, save, table, write_csv

MARK = "<!-- Below this line the page is written by hand; scripts/eval/quality keeps it. -->"
NAMES = {"breeze": "breeze", "smollm2": "SmolLM2"}
TARGET = 1e-3
ENOUGH = 50000  # tokens; fewer give no verdict
HEAD = ("Weights", "Tokens", "Perplexity", "Ours", "Deviation", "Within 0.1 %", "Mean divergence", "99.9 % up to", "Same top token")

INTRODUCTION = """# Quality

Written by `scripts/eval/quality`: what the arithmetic of `{device}` does to predictions. The target: for every dtype, over at least
50,000 tokens, a perplexity within 0.1 % of that of `{oracle}` (plain C, sums in F64).

Measured {date} on {processor}{isa}, commit {commit}.

Deviation is that of the perplexities' ratio from 1, with one standard error of the paired differences. Divergence is
Kullback-Leibler's, of `{device}` from what it is held against, in nats a token: its mean, and what 99.9 % of the tokens do not
exceed. Top token: both find the same one likeliest.
"""
BREEZE = """
## breeze beside {oracle}

Every matrix of a file has the dtype named. The last column sets the scale: what the file itself lost, beside the F32 file.

"""
SMOLLM2 = """
## SmolLM2 beside its own weights in F32

`{oracle}` takes hours for a text, so the same file with its weights expanded to F32, multiplied by `{device}` with F32 activations,
stands in for it. F16 and BF16 give the bits of their expanded forms. Rows of 576 do not fill blocks of 256: only the matrices with
rows of 1536 have a type named K or XS, the others what llama.cpp falls back to.

"""
STAND_IN = """
That the expanded files stand in for `{oracle}`: `{device}` on them beside `{oracle}` on the file itself, a part of the text.

"""
WHOLE = """
The whole text beside `{oracle}` itself. The first row's perplexity is to be compared with that in the table above.

"""
METHOD = """
## Method

Both sides score the same tokens in one process (`gregale perplexity --against`, docs/command-line.md), in windows of {context}
tokens, keys and values in F16. breeze reads its held-out text (tests/golden/models/breeze-heldout.txt: seven books of the King
James Bible that it was not trained on; public domain). SmolLM2-135M-Instruct reads the Jargon File 4.4.7 (public domain; Debian's
package `jargon-text`): its paragraphs of at least 80 characters that end a sentence, line breaks removed.

breeze's F16 and Q8_0 files and SmolLM2's Q4_1 are those at hand; `llama-quantize --pure` made the others of them, expanded to F32
({quantizer}). All figures: [CSV](quality/quality.csv).
"""


def steps(results, model):
    for name, step in results.items():
        if name.startswith(model + "-") and have(results, name):
            yield name[len(model) + 1:].upper(), step


def small(value):
    return "0" if value == 0 else f"{value:.2g}"


def verdict(figures):
    if figures["tokens"] < ENOUGH:
        return ""
    return "yes" if abs(figures["ratio"] - 1) <= TARGET else "**no**"


def row(kind, figures, *more):
    return (kind, figures["tokens"], f"{figures['against_perplexity']:.4f}", f"{figures['perplexity']:.4f}",
            f"{100 * (figures['ratio'] - 1):+.4f} ± {100 * figures['ratio_standard_error']:.4f} %", verdict(figures),
            small(figures["mean_divergence"]), small(figures["divergence_999"]), f"{100 * figures['same_top']:.2f} %", *more)


def file_loss(step):
    figures = step.get("file")
    return f"{small(figures['mean_divergence'])}; {100 * (figures['ratio'] - 1):+.2f} %" if figures else ""


def held(step):
    """'Q5_0 181, Q4_K 30': matrices by dtype; norms are F32."""
    counts = {kind: count for kind, count in step["tensors"].items() if kind != "F32"} or step["tensors"]
    return ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items(), key=lambda item: -item[1]))


def breeze_section(results):
    rows = [row(kind, step["oracle"], file_loss(step)) for kind, step in steps(results, "breeze")]
    return table(HEAD + ("The file: divergence; perplexity",), rows) if rows else ""


def smollm2_sections(results, facts):
    found = list(steps(results, "smollm2"))
    for text, key, last in ((SMOLLM2, "expanded", held), (WHOLE, "oracle", None), (STAND_IN, "stand-in", None)):
        rows = [row(kind, step[key], *([last(step)] if last else [])) for kind, step in found if key in step]
        if rows:
            yield text.format(**facts) + table(HEAD + (("Matrices",) if last else ()), rows)


def page(results, picture):
    e = results["environment"]
    facts = {**e, "isa": f", GREGALE_CPU_ISA={e['isa']}" if e["isa"] else "", "quantizer": e["quantizer"] or "version not stated"}
    missing = [f"{name} ({r['missing']})" for name, r in results.items() if "missing" in r]
    out = io.StringIO()
    out.write(INTRODUCTION.format(**facts))
    if picture:
        out.write("\n![Deviation of perplexity by weights](quality/deviation.svg)\n")
    if breeze_section(results):
        out.write(BREEZE.format(**facts) + breeze_section(results))
    out.writelines(smollm2_sections(results, facts))
    if missing:
        out.write("\nNot measured: " + "; ".join(missing) + ".\n")
    out.write(METHOD.format(**facts))
    return out.getvalue()


def runs(results):
    """(model, dtype, held against, figures) of everything measured."""
    for model in NAMES:
        for kind, step in steps(results, model):
            yield from ((model, kind, key, step[key]) for key in ("oracle", "expanded", "stand-in", "file") if key in step)


def csv_rows(results):
    columns = ("tokens", "perplexity", "against_perplexity", "ratio", "ratio_standard_error", "mean_divergence", "divergence_999",
               "largest_divergence", "same_top")
    for model, kind, against, figures in runs(results):
        yield {"model": model, "weights": kind, "against": against, **{c: f"{figures[c]:.9g}" for c in columns}}


def plot(folder, results):
    """Deviations with two standard errors, of each dtype; False when gnuplot is not there."""
    points = {f"{NAMES[model]} {kind}": figures for model, kind, key, figures in runs(results)
              if key in ("expanded", "oracle") and figures["tokens"] >= ENOUGH}
    if not points or not shutil.which("gnuplot"):
        return False
    data = "".join(f'"{name}" {100 * (f["ratio"] - 1):.6f} {200 * f["ratio_standard_error"]:.6f}\n' for name, f in points.items())
    script = ("set term svg size 900,420 noenhanced; set output 'deviation.svg'; set xtics rotate by -60; set grid y; unset key; "
              f"set xrange [-1:{len(points)}]; set yrange [-0.15:0.15]; set ylabel 'deviation, %, with two standard errors'; "
              "set arrow from graph 0, first 0.1 to graph 1, first 0.1 nohead dt 2; "
              "set arrow from graph 0, first -0.1 to graph 1, first -0.1 nohead dt 2\n"
              f"$d << END\n{data}END\nplot $d using 0:2:3:xtic(1) with yerrorbars pt 7 ps 0.6\n")
    return subprocess.run(["gnuplot"], input=script, text=True, cwd=folder, capture_output=True).returncode == 0


def write(results, output):
    folder = os.path.join(output, "quality")
    rows = list(csv_rows(results))
    if rows:
        write_csv(os.path.join(folder, "quality.csv"), rows)
    path = os.path.join(output, "quality.md")
    by_hand = f"{MARK}\n\n## Notes\n\nNothing is noted yet.\n"
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            _, mark, rest = file.read().partition(MARK)
        by_hand = mark + rest if mark else by_hand
    save(path, page(results, plot(folder, results)) + "\n" + by_hand)
