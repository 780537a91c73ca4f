"""Ctrl-C during an import."""

import os
import signal
import sys
import threading

import pytest

from c3dhash.cli.interrupts import imports_end_first

LONG_IMPORT = """
import os, signal, time
for _ in range({presses}):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
is_whole = True
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module, still to be imported, during whose import Ctrl-C is pressed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "pressed", None)
    del sys.modules["pressed"]

    def write(presses: int) -> None:
        (tmp_path / "pressed.py").write_text(LONG_IMPORT.format(presses=presses))

    return write


@pytest.fixture(autouse=True)
def pythons_own_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def import_and_wait():
    import pressed  # noqa: F401

    for _ in range(100):
        threading.Event().wait(0.05)
    pytest.fail("not interrupted")


def test_an_import_ends_before_the_interrupt(module):
    module(presses=1)
    with pytest.raises(KeyboardInterrupt), imports_end_first():
        import_and_wait()
    assert sys.modules["pressed"].is_whole
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_second_press_does_not_wait(module):
    module(presses=2)
    with pytest.raises(KeyboardInterrupt), imports_end_first():
        import_and_wait()
    assert "pressed" not in sys.modules


def test_elsewhere_at_once():
    with pytest.raises(KeyboardInterrupt), imports_end_first():
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("not interrupted")


def test_a_foreign_handler_stays():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with imports_end_first():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_threads_are_left_alone():
    def use():
        with imports_end_first():
            found.append(signal.getsignal(signal.SIGINT))

    found = []
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
