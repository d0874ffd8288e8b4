"""Fuzzes one target, in this process, which ends with it: with ``--target=NAME``.

``python -m tests.fuzz`` starts it. All other arguments are for libFuzzer: folders of inputs (the
first one takes new ones), ``-max_total_time``, or the file of one input to try it again.
"""

from __future__ import annotations

import os
import sys

import atheris
import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    # What is imported here, by Django as well, tells the fuzzer which branches an input reaches.
    with atheris.instrument_imports(include=["instance_lookup"]):
        django.setup()
        from tests.fuzz.targets import targets

    # libFuzzer ignores what begins with "--", and hands it on to processes that it starts itself.
    [name] = [word.removeprefix("--target=") for word in sys.argv if word.startswith("--target=")]
    atheris.Setup(sys.argv, targets()[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
