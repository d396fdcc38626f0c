#!/usr/bin/env python3
"""The house rules catch what they claim to catch, and let good code pass."""

import unittest

import check_tidy as tidy


def banned(code, name="model/x.cc"):
    return list(tidy.check_banned(name, tidy.blank_comments_and_literals(code)))


class LayersTest(unittest.TestCase):
    def test_upward_include_is_found_with_its_line(self):
        found = list(tidy.check_layers("memory/pool.cc", '#include "base/check.h"\n#include "server/api/app.h"\n'))
        self.assertEqual(len(found), 1)
        self.assertIn("memory/pool.cc:2", found[0])

    def test_downward_include_passes(self):
        self.assertEqual(list(tidy.check_layers("server/main.cc", '#include "scheduler/engine.h"\n')), [])

    def test_runner_sees_only_the_executor_seam(self):
        self.assertEqual(list(tidy.check_layers("model/runner.cc", '#include "scheduler/executor.h"\n')), [])
        self.assertTrue(list(tidy.check_layers("model/runner.cc", '#include "scheduler/engine.h"\n')))

    def test_third_party_headers_stay_at_home(self):
        for name, header in [("scheduler/a.cc", "nlohmann/json.hpp"), ("model/a.cc", "boost/asio.hpp"),
                             ("memory/a.cc", "cuda_runtime.h"), ("model/a.cc", "immintrin.h"), ("server/a.cc", "regex"),
                             ("scheduler/a.cc", "base/json.h")]:
            self.assertTrue(list(tidy.check_layers(name, f"#include <{header}>\n")), (name, header))
        self.assertEqual(list(tidy.check_layers("kernels/cuda/a.cu", "#include <cuda_runtime.h>\n")), [])

    def test_header_without_guard(self):
        self.assertTrue(list(tidy.check_layers("base/a.h", "int x;\n")))


class BannedTest(unittest.TestCase):
    def test_each_ban(self):
        for code in ["getenv(\"A\");", "printf(\"x\");", "std::snprintf(b, 1, f);", "std::regex r;", "auto* p = new Foo();",
                     "delete p;", "delete[] p;", "free(p);", "atoi(s);", "std::mt19937 g;", "std::cout << 1;",
                     "using namespace std;", "x = NULL;"]:
            self.assertTrue(banned(code), code)

    def test_good_code_passes(self):
        for code in ["// printf( and getenv(\n", "auto s = \"new Foo\";", "Foo(const Foo&) = delete;", "pool.free_pages();",
                     "new (place) Foo();", "std::unique_ptr<Foo>(new Foo(1));", "int x = 1'000'000;", "fmt::print(\"x\");",
                     "auto r = R\"(delete[] p)\";"]:
            self.assertEqual(banned(code), [], code)

    def test_homes(self):
        self.assertEqual(banned("getenv(\"A\");", "server/config/env.cc"), [])
        self.assertTrue(banned("getenv(\"A\");", "server/http/a.cc"))


class RatchetTest(unittest.TestCase):
    def test_only_shrinks(self):
        compare = tidy.compare_with_ratchet
        self.assertEqual(list(compare({"a.cc:F": 80}, {"a.cc:F": 80})), [])
        self.assertEqual(list(compare({"a.cc:F": 79}, {"a.cc:F": 80})), [])
        self.assertTrue(list(compare({"a.cc:F": 81}, {"a.cc:F": 80})))
        self.assertTrue(list(compare({"a.cc:F": 71}, {})))
        self.assertTrue(list(compare({}, {"a.cc:F": 80})))


class ReadmeTest(unittest.TestCase):
    def test_dead_link(self):
        self.assertTrue(list(tidy.check_readme("README.md", "see [x](no/such/file.md)\n")))
        self.assertEqual(list(tidy.check_readme("README.md", "see [x](CMakeLists.txt#a) [y](https://e.org)\n")), [])

    def test_long_module_readme(self):
        self.assertTrue(list(tidy.check_readme("base/README.md", "a\n" * 81)))


class MachineTest(unittest.TestCase):
    def test_path(self):
        self.assertTrue(list(tidy.check_machine("a.md", "see /wo" + "rk/x")))
        self.assertEqual(list(tidy.check_machine("a.md", "the network/x and /var/lib/x")), [])


if __name__ == "__main__":
    unittest.main()
