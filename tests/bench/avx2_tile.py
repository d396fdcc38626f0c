#!/usr/bin/env python3
"""What bare AVX2 assembly reaches for 4-bit codes: avx2_tile.py prints cycles and GOP/s, the best of some runs.

The tile of Q4_K beside `vpmaddubsw`: two registers of a panel times some rows of x, codes and scales unpacked, everything
near. `sums`: nothing but products, their sums, and once a group of 32 the integer scale. `products` leaves the sums out;
`behind` takes each sum one row later than its product, which tells whether order matters. `whole` is a tile's inner loop:
after every fourth group minima come off, and scales of float32 join. All are limits for kernels, to be held against
`linear_bench q4_K 2 avx2 512`. Needs g++ and an x86 processor with AVX2 and FMA.
"""

import subprocess
import tempfile

QUADS = 8  # four k each, of a group of 32
REGISTERS = 16
TILES = [("products", 6), ("sums", 6), ("sums", 5), ("behind", 5), ("sums", 4), ("behind", 4), ("whole", 6), ("whole", 5),
         ("whole", 4)]
X_STRIDE, X_GROUP, W_GROUP, SCALES, TOTALS = 2432, 36, 640, 512, 8192  # bytes
SUMS, MINIMA, FLOATS = TOTALS + 512, 8192 - 256, 8192 - 128  # of whole tiles
WIDE = 4  # groups that share a scale of x
GROUP_OPS = 2 * 2 * 8 * 32  # of a row and two registers of eight rows of the weight

PROGRAM = """
#include <algorithm>
#include <chrono>
#include <cstdio>
alignas(64) static char x_bytes[1 << 16], w_bytes[1 << 16];
static double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
#define CLOBBERS "memory", %(clobbers)s
static void Peak(long n) {
  for (long i = 0; i < n; ++i) asm volatile(%(peak)s : : : CLOBBERS);
}
%(tiles)s
template <typename Run>
static double Best(Run run, long n) {
  double best = 1e9;
  for (int i = 0; i < 15; ++i) {
    const double begin = Now();
    run(n);
    best = std::min(best, (Now() - begin) / n);
  }
  return best;
}
int main() {
  const double cycle = Best(Peak, 2000000) / 6;  // twelve products, two a cycle
%(calls)s
}
"""


def quoted(lines):
    return "\n".join(f'"{line}\\n"' for line in lines)


def tile(kind, rows, group=0):
    """The instructions of one group: `rows` of x at %0, two registers of the weight at %1, sums in the first registers."""
    x_at, w_at, first = group * X_GROUP, group * W_GROUP, kind == "whole" and group == 0
    names = [f"%%ymm{i}" for i in range(REGISTERS)]
    sums, weights, spare = names[: 2 * rows], names[2 * rows : 2 * rows + 2], names[2 * rows + 2 :]
    lines, due = [], []
    for quad in range(QUADS):
        lines += [f"vmovdqa {w_at + quad * 64 + part * 32}(%1), {weights[part]}" for part in range(2)]
        for row in range(rows):
            pair = spare[row % (len(spare) // 2) * 2 :][:2]
            lines.append(f"vpbroadcastd {x_at + row * X_STRIDE + quad * 4}(%0), {pair[1]}")
            to = sums[2 * row :][:2] if quad == 0 else pair  # the first products are the sums
            lines += [f"vpmaddubsw {pair[1]}, {weights[part]}, {to[part]}" for part in range(2)]
            if quad == 0:
                continue
            due.append([f"vpaddw {pair[part]}, {sums[2 * row + part]}, {sums[2 * row + part]}" for part in range(2)])
            while kind != "products" and len(due) > (kind == "behind"):
                lines += due.pop(0)
    lines += [line for adds in due if kind != "products" for line in adds]
    for i, total in enumerate(sums):
        at = TOTALS + i * 32
        lines.append(f"vpmaddwd {w_at + SCALES + i % 2 * 32}(%1), {total}, {total}")
        lines += [] if first else [f"vpaddd {at}(%1), {total}, {total}"]
        lines.append(f"vmovdqa {total}, {at}(%1)")
    return lines


def finish(rows):
    """What follows four groups: minima times the sums of x of two groups at a time, both scales, and that of x."""
    lines = []
    for row in range(rows):
        behind = row * X_STRIDE - 4  # the last number of a group of x
        lines += [f"vpbroadcastd {behind + X_GROUP}(%0), %%ymm0", f"vpbroadcastd {behind + 3 * X_GROUP}(%0), %%ymm1",
                  f"vbroadcastss {behind + WIDE * X_GROUP}(%0), %%ymm2"]
        for part in range(2):
            at = (2 * row + part) * 32
            minima, floats = MINIMA + part * 32, FLOATS + part * 32
            lines += [f"vpmaddwd {minima}(%1), %%ymm0, %%ymm3", f"vpmaddwd {minima + 64}(%1), %%ymm1, %%ymm4",
                      "vpaddd %%ymm4, %%ymm3, %%ymm3", "vcvtdq2ps %%ymm3, %%ymm3", f"vcvtdq2ps {TOTALS + at}(%1), %%ymm5",
                      f"vmulps {floats}(%1), %%ymm5, %%ymm5", f"vfmadd231ps {floats + 64}(%1), %%ymm3, %%ymm5",
                      f"vmovaps {SUMS + at}(%1), %%ymm6", "vfmadd231ps %%ymm5, %%ymm2, %%ymm6", f"vmovaps %%ymm6, {SUMS + at}(%1)"]
    return lines


def body(kind, rows):
    """The instructions of a turn of the loop, and how many groups it goes over."""
    if kind != "whole":
        return tile(kind, rows), 1
    return [line for group in range(WIDE) for line in tile(kind, rows, group)] + finish(rows), WIDE


def program():
    tiles, calls = [], []
    for kind, rows in TILES:
        name = f"{kind}{rows}"
        lines, groups = body(kind, rows)
        tiles.append(f"static void {name}(long n) {{ for (long i = 0; i < n; ++i) {{\n"
                     f"const char* x = x_bytes + i % 32 * {X_GROUP};\nchar* w = w_bytes + i % {8 // groups} * {groups * W_GROUP};\n"
                     f'asm volatile({quoted(lines)} : : "r"(x), "r"(w) : CLOBBERS); }} }}')
        calls.append(f'  {{ const double s = Best({name}, 500000) / {groups}; std::printf("%-9s %d rows: %5.1f cycles a group, %4.0f GOP/s a '
                     f'core\\n", "{kind}", {rows}, s / cycle, {GROUP_OPS * rows} / s / 1e9); }}')
    return PROGRAM % {"clobbers": ", ".join(f'"xmm{i}"' for i in range(REGISTERS)), "tiles": "\n".join(tiles),
                      "calls": "\n".join(calls),
                      "peak": quoted(f"vpmaddubsw %%ymm14, %%ymm15, %%ymm{i}" for i in range(12))}


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["g++", "-O2", "-mavx2", "-mfma", "-x", "c++", "-", "-o", f"{folder}/tile"], input=program(), text=True, check=True)
        print(subprocess.run([f"{folder}/tile"], capture_output=True, text=True, check=True).stdout, end="")


if __name__ == "__main__":
    main()
