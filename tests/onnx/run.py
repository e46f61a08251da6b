"""Runs the tests of this folder and says how many passed, in the words that ./dev counts."""

import os
import sys
import unittest

suite = unittest.defaultTestLoader.discover(os.path.dirname(os.path.abspath(__file__)))
result = unittest.TextTestRunner(verbosity=2).run(suite)
tests_failed = {str(getattr(test, "test_case", test)) for test, _ in result.failures + result.errors}
print(f"# pass {max(result.testsRun - len(tests_failed), 0)}\n# fail {len(tests_failed)}")
sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)
