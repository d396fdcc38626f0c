#!/usr/bin/env python3
"""Puts known defects into the memory module, one at a time, and expects the tests that are there for them to fail.

    python3 tests/property/mutate.py [NAME...]     all, or those whose name contains one of NAME

Works on a copy of the sources under build/mutants and builds only the tests it needs. Exits 1 if a defect survives.
The D... are those of vAttention's source (tests/unit/memory/vattention_defects_test.cc has one test for each); the others
are mistakes that this module has had or could have.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "mutants"
COPY = WORK / "source"
BUILD = WORK / "build"
UNIT, PROPERTY = "memory_test", "property_test"
TEST_FOLDERS = {UNIT: "tests/unit/memory", PROPERTY: "tests/property"}

# name: (file, what is there, what takes its place, test binary, filter of the tests of which one has to fail)
MUTANTS = {
    "D1-no-sharing": (
        "memory/prefix_index.cc", "  if (last == nullptr) {\n    return {};", "  {\n    pages.clear();\n    return {};",
        UNIT, "VattentionDefects.D1*"),
    "D1-shared-pages-writable": (
        "memory/kv_sharing.cc", "TRY(MapFrom(slot, common, false));", "TRY(MapFrom(slot, common, true));",
        UNIT, "VattentionDefects.D1*"),
    "D2-blocks-of-pages": (
        "memory/kv_cache.cc", "const int64_t wanted = options_.geometry.PagesFor(positions) - slot.first;",
        "const int64_t wanted = (options_.geometry.PagesFor(positions) + 1) / 2 * 2 - slot.first;",
        UNIT, "VattentionDefects.D2*"),
    "D3-growing-does-not-wait": (
        "memory/kv_cache.cc", "    Settle(slot);\n  }\n  TRY(MakeRoom", "  }\n  TRY(MakeRoom",
        UNIT, "VattentionDefects.D3*"),
    "D3-trim-does-not-wait": (
        "memory/kv_cache.cc", "  Settle(slot);\n  const int64_t count = slot.mapped() - kept;",
        "  const int64_t count = slot.mapped() - kept;", PROPERTY, "KvCacheProperty*:*KvCacheProperty*:KvCacheWalk*"),
    "D4-best-fit-below-the-first": (
        "memory/kv_sharing.cc", "    if (best == nullptr || better(slot, fit)) {",
        "    if (best == nullptr || (better(slot, fit) && fit.usable >= wanted_pages && fit.usable < best_fit.usable)) {",
        UNIT, "VattentionDefects.D4*"),
    "D5-unmap-leaves-the-mapping": (
        "memory/kv_cache.cc", "  TRY(backend_->Unmap(AddressOf(slot, kept), count));\n", "",
        UNIT, "VattentionDefects.D5*"),
    "D6-half-a-block-stays": (
        "memory/kv_cache.cc", "    slot.pages.resize(first);\n    return done;", "    return done;",
        UNIT, "VattentionDefects.D6*"),
    "D6-a-failure-is-the-end": (
        "memory/kv_cache.cc", "    done = backend_->Map(AddressOf(slot, static_cast<int64_t>(first)), scratch_ids_, writable);",
        "    CHECK(backend_->Map(AddressOf(slot, static_cast<int64_t>(first)), scratch_ids_, writable).ok());",
        UNIT, "VattentionDefects.D6*"),
    "D7-nothing-goes-back": (
        "memory/page_pool.cc", "Result<void> PagePool::Trim(int64_t keep) {",
        "Result<void> PagePool::Trim(int64_t keep) {\n  keep = max_pages();", UNIT, "VattentionDefects.D7*"),
    "restored-pages-counted-as-parked": (
        "memory/kv_tiers.cc", "    ledger_.Moved(page.page(), PageClass::kFree);\n", "", PROPERTY, "*KvCache*"),
    "evicted-page-stays-in-a-parked-range": (
        "memory/kv_sharing.cc", "    if (at >= 0 && at < slot.sealed &&", "    if (at >= 0 && at + 1 < slot.sealed &&",
        PROPERTY, "*KvCache*"),
    "published-page-stays-writable": (
        "memory/kv_sharing.cc", "  if (!backend_->Protect(address, 1, false).ok()) {", "  if (false) {",
        PROPERTY, "*KvCache*"),
    "quota-ignores-cached-pages": (
        "memory/page_ledger.cc", "ReadTenant(tenant).charged() + pages", "ReadTenant(tenant).held() + pages",
        PROPERTY, "*KvCache*"),
    "floor-ignored": (
        "memory/page_ledger.cc", "return owner == taker ||", "return true || owner == taker ||", PROPERTY, "*KvCache*"),
    "sleep-under-a-span": (
        "memory/kv_size.cc", "counts.held() > 0 || spans_ > 0", "counts.held() > 0", UNIT, "KvSizeTest.*"),
    "reserve-keeps-what-it-claimed": (
        "memory/kv_cache.cc", "SetLive(slot, live_before);", "SetLive(slot, std::max(slot.live, live_before));", PROPERTY, "*KvCache*"),
    "bad-pages-believed": (
        "memory/kv_tiers.cc", "const bool good = static_cast<int64_t>(i) < job.good;", "const bool good = true;",
        PROPERTY, "*KvCache*"),
    "a-lost-page-leaks": (
        "memory/kv_tiers.cc", "      ledger_.DropMove(page.page());\n      ReleaseRef(page);\n      ++counters_.lost",
        "      ++counters_.lost", PROPERTY, "*KvCache*"),
    "copy-goes-to-the-wrong-page": (
        "memory/kv_sharing.cc", "return backend_->Copy(to.page(page), from.page(page));",
        "return backend_->Copy(to.page(page), from.page(0));", PROPERTY, "*KvCache*"),
    "tokens-not-compared-by-tenant": (
        "memory/prefix_index.cc", "entry.tenant == tenant &&", "(true || entry.tenant == tenant) &&", UNIT, "KvTenantTest.*"),
}


def run(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)


def copy_sources():
    """Only what changed, so that only that is built again."""
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True,
                           text=True).stdout.split()
    for name in files:
        source, target = ROOT / name, COPY / name
        if not source.is_file() or (target.is_file() and target.read_bytes() == source.read_bytes()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def build(targets):
    done = run("cmake", "--build", str(BUILD), "-j", "2", "--target", *targets)
    return done.returncode == 0, done.stdout


def fails(binary, tests):
    try:
        done = run(str(BUILD / TEST_FOLDERS[binary] / binary), f"--gtest_filter={tests}", "--gtest_brief=1",
                   cwd=COPY, timeout=300)
    except subprocess.TimeoutExpired:
        return True, "timed out"
    ran = "0 tests ran" not in done.stdout and "from 0 test" not in done.stdout
    return done.returncode != 0 or not ran, done.stdout


def main():
    wanted = sys.argv[1:]
    chosen = {name: row for name, row in MUTANTS.items() if not wanted or any(part in name for part in wanted)}
    if not chosen:
        sys.exit(f"no such mutant; there are: {', '.join(MUTANTS)}")
    copy_sources()
    binaries = sorted({row[3] for row in chosen.values()})
    configured = run("cmake", "-S", str(COPY), "-B", str(BUILD), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                     "-DCAUSEWAY_CUDA=OFF")
    ok, log = build(binaries) if configured.returncode == 0 else (False, configured.stdout)
    if not ok:
        sys.exit(log)
    for binary, tests in sorted({row[3:] for row in chosen.values()}):
        failed, log = fails(binary, tests)
        if failed:
            sys.exit(f"{binary} {tests} fails or runs nothing without a mutant:\n{log}")
    survivors = 0
    for name, (file, there, instead, binary, tests) in chosen.items():
        path = COPY / file
        text = path.read_text()
        if text.count(there) != 1:
            sys.exit(f"{name}: {file} has {text.count(there)} places that read {there!r}; mend the table")
        path.write_text(text.replace(there, instead))
        try:
            built, log = build([binary])
            failed, log = fails(binary, tests) if built else (False, log)
        finally:
            path.write_text(text)
        survivors += not failed
        print(f"{'killed' if failed else 'SURVIVES' if built else 'DOES NOT BUILD'}  {name}", flush=True)
        if not failed:
            print(log[-2000:])
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants die")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
