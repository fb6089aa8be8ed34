#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line at a terminal: editing, Ctrl-C everywhere, progress bars, a terminal that hangs up.

Usage: terminal.py PATH_TO_GREGALE. Exit code 77: no pseudo-terminal to be had.
"""
import os
import pathlib
import pty
import re
import resource
import select
import signal
import sys
import tempfile
import time

GREGALE = sys.argv[1]
SOURCE = pathlib.Path(__file__).resolve().parents[2]
MODEL = str(SOURCE / "configs/models/breeze/breeze-q8_0.gguf")
CHAT = ["chat", MODEL, "--chat-format", "mistral-v1", "--seed", "3"]
PATIENCE = 60.0  # seconds; a loaded machine under a sanitizer is slow


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *arguments, ignore=(), environment={}):
        self.seen = ""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            # As a shell at a terminal starts it: a check in the background has SIGINT ignored.
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
                signal.signal(number, signal.SIG_IGN if number in ignore else signal.SIG_DFL)
            os.environ.update(environment, TERM="xterm")
            os.execv(GREGALE, ["gregale", *arguments])

    def read(self, seconds):
        """Takes what comes within that time; False at the end."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += data.decode("utf-8", "replace")
        return bool(data)

    def expect(self, pattern, what):
        """Reads until the pattern comes; forgets what came before its end."""
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.seen)):
            if not self.read(0.1) or time.monotonic() > end:
                raise AssertionError(f"{what}: expected /{pattern}/, found {self.seen!r}")
        self.seen = self.seen[found.end():]
        return found

    def type(self, text):
        os.write(self.master, text.encode())

    def prompt(self, what):
        self.expect(r"\r?> $|> \x1b\[K$|> ", what)
        time.sleep(0.1)  # the terminal drops what was typed before Ctrl-C and not yet read

    def code(self, what):
        """The exit code, 128 + N for signal N; kills what does not end."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.master is not None:
                self.read(0.02)
            else:
                time.sleep(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"{what}: still running after {PATIENCE} s")

    def hang_up(self):
        os.close(self.master)
        self.master = None


def same(found, expected, what):
    assert found == expected, f"{what}: expected {expected}, found {found}"


def talks_and_leaves():
    t = Terminal(*CHAT, "--max-tokens", "8")
    t.prompt("first prompt")
    t.type("In the beginning\r")
    t.expect("In the beginning.*\n", "echo")
    t.prompt("after an answer")
    t.type("\x1b[A")  # up
    t.expect("In the beginning", "history")
    t.type("\x15/help\r")  # Ctrl-U
    t.expect("/regen", "help")
    t.prompt("after help")
    t.type('"""\r')
    t.expect(r"\. ", "continuation")
    t.type("one\r")
    t.expect(r"\. ", "the block's second line")
    t.type("two")
    t.expect("two", "its echo")  # what is not read yet when Ctrl-C comes, the terminal drops
    t.type("\x03")
    t.expect(r"\^C \(again leaves\)", "Ctrl-C in a block")
    t.prompt("after a block")
    t.type("h\u00e9 \u4e2d\x7f\x7f!\\\r")  # a character each is taken back, not a byte
    t.expect(r"\. ", "continuation by backslash")
    t.type("and\r")
    t.prompt("after a message in two lines")
    t.type("\x04")
    same(t.code("Ctrl-D"), 0, "Ctrl-D")


def interrupts_at_the_prompt():
    t = Terminal(*CHAT, "--max-tokens", "4")
    t.prompt("first prompt")
    for text in ("half a line", "another"):  # a key between: each is the first
        t.type(text)
        t.expect(text[-4:], "echo")
        time.sleep(0.1)
        t.type("\x03")
        t.expect(r"\^C \(again leaves\)", "first Ctrl-C")
        t.prompt("after Ctrl-C")
    t.type("And\r")
    t.expect("And", "echo")
    t.prompt("a cancelled line is not sent")
    t.type("\x03")
    t.expect(r"\^C", "first Ctrl-C")
    t.prompt("after Ctrl-C")
    t.type("\x03")
    same(t.code("Ctrl-C twice"), 130, "Ctrl-C twice")


def interrupts_an_answer():
    t = Terminal(*CHAT, "--context", "8192", "--device", "ref")
    t.prompt("first prompt")
    t.type("/set sampler logit-bias(2:-100);temperature(1)\r")  # no end to it
    t.prompt("after /set")
    t.type("And it came to pass\r")
    t.expect(r"pass\r\n.*\w+ \w+", "an answer begins")
    t.type("\x03")
    t.expect(r"\(stopped\)", "stopped")
    t.prompt("after stopping")
    t.type("/undo\r")  # the conversation is sound
    t.prompt("after /undo")
    t.type("\x03")
    t.expect(r"\^C \(again leaves\)", "another key came between")
    t.prompt("after Ctrl-C")
    t.type("So\r")
    t.expect(r"So\r\n.*\w+ \w+", "another answer begins")
    t.type("\x03")
    t.expect(r"\(stopped\)", "stopped again")
    t.prompt("after stopping again")
    t.type("\x03")
    same(t.code("stopped, then Ctrl-C"), 130, "stopped, then Ctrl-C")


def interrupts_a_long_prompt():
    text = "And the king said unto the people, Let us go. " * 400
    slow = ("--context", "8192", "--device", "ref", "--chunk", "64")
    t = Terminal("run", MODEL, "--raw", "-p", text, *slow)
    t.expect(r"\[#*\.+\] +\d+ %", "run: a progress bar")
    t.expect(r"\[#+\.+\] +\d+ %", "run: the bar moves")
    t.type("\x03")
    t.expect(r"gregale: .*interrupted", "run: says so")
    same(t.code("run"), 130, "run: Ctrl-C in a long prompt")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        t = Terminal("perplexity", MODEL, file.name, *slow)
        t.expect(r"\d+ tokens +perplexity", "perplexity: says how far it is")
        t.type("\x03")
        t.expect(r"gregale: .*interrupted", "perplexity: says so")
        same(t.code("perplexity"), 130, "perplexity: Ctrl-C")
    t = Terminal(*CHAT, *slow, "--max-tokens", "4")
    t.prompt("first prompt")
    t.type('"""\r' + "".join(f"{text[:900]}\r" for _ in range(20)) + '"""\r')
    t.expect(r"\[#*\.+\] +\d+ %", "chat: a progress bar")
    t.type("\x03")
    t.expect(r"\(stopped\)", "chat: stopped")
    t.prompt("chat: after a prompt that was stopped")
    t.type("So\r")
    t.expect("So", "echo")
    t.prompt("chat: the next message is answered")
    t.type("/quit\r")
    same(t.code("/quit"), 0, "/quit")


def interrupts_the_start():
    """Whenever it comes: Ctrl-C ends the start with 130; at the prompt it takes two."""
    for delay in (0, 0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1):
        t = Terminal(*CHAT)
        time.sleep(delay)
        t.type("\x03")
        while "> " not in t.seen and t.read(0.5):
            pass
        if "> " in t.seen:  # too late, or the very last moment
            time.sleep(0.2)
            for _ in range(2):
                try:
                    t.type("\x03")
                except OSError:
                    break  # ended
                t.read(0.3)
        same(t.code("Ctrl-C at the start"), 130, f"Ctrl-C after {delay} s")


def moves_elsewhere():
    far = pathlib.Path(GREGALE).resolve().parents[1] / "tests/far"
    if not far.is_dir():
        return
    slow = {"GREGALE_PLUGIN_PATH": str(far), "GREGALE_FAR_LATE_US": "60000"}
    t = Terminal(*CHAT, "--device", "ref", "--max-tokens", "4", environment=slow)
    t.prompt("first prompt")
    t.type("And\r")
    t.prompt("after an answer")
    t.type("/device far\r")
    t.expect(r"move +\[#+\.+\] +\d+ %", "a bar that moves")
    t.type("\x03")
    t.expect(r"gregale: .*cancelled", "it says so")
    t.prompt("after Ctrl-C in a move")
    t.type("/device\r")
    t.expect(r"ref; there are:.* far", "still there")
    t.prompt("after /device")
    t.type("/device far\r")
    t.expect(r"moved from ref to far: \d+ pages \(.* MiB\), pause .* ms, logits within", "moved")
    t.prompt("after a move")
    t.type("\x03")
    t.expect(r"\^C \(again leaves\)", "Ctrl-C at the prompt")
    t.prompt("after Ctrl-C")
    t.type("/quit\r")
    same(t.code("/quit"), 0, "/quit")


def hangs_up():
    answer = ("/set sampler logit-bias(2:-100);temperature(1)\r", "And it came to pass\r")
    for ignore, expected in (((), 129), ((signal.SIGHUP,), None)):
        for busy in (False, True):
            what = f"hung up {'in an answer' if busy else 'at the prompt'}, ignored: {bool(ignore)}"
            t = Terminal(*CHAT, "--context", "8192", "--device", "ref", ignore=ignore)
            t.prompt("first prompt")
            for line in answer if busy else ():
                t.type(line)
                t.expect(r"\n", "echo")
            if busy:
                t.expect(r"pass\r\n.*\w+|\w+ \w+", "an answer begins")
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            t.hang_up()
            begin = time.monotonic()
            code = t.code(what)
            spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
            assert expected in (None, code), f"{what}: expected {expected}, found {code}"
            assert code < 130, f"{what}: exit code {code}"
            assert busy or spent < 5, f"{what}: {spent} s of processor time, {time.monotonic() - begin} s"


def ends_on_request():
    t = Terminal(*CHAT)
    t.prompt("first prompt")
    os.kill(t.pid, signal.SIGTERM)
    same(t.code("SIGTERM"), 143, "SIGTERM at the prompt")


def prompts_for_lua():
    with tempfile.TemporaryDirectory() as state:
        environment = {"XDG_STATE_HOME": f"{state}/new"}
        t = Terminal("script", environment=environment)
        t.prompt("first prompt")
        for typed, shown in (("1 + 1", r"\n2\r"), ("=('x'):rep(3), nil", r"\nxxx\tnil\r"), ("x = 6", ""), ("x * 7", r"\n42\r")):
            t.type(typed + "\r")
            t.expect(shown, typed)
            t.prompt("after " + typed)
        t.type("for i = 1, 2 do\r")
        t.expect(">> ", "a text that lacks its end")
        t.type("print('number ' .. i) end\r")
        t.expect(r"number 1\r\nnumber 2\r", "a text of two lines")
        t.prompt("after two lines")
        t.type("local function wrong() error('oops') end wrong()\r")
        t.expect(r"prompt:1: oops\r\nstack traceback:", "an error")
        t.prompt("after an error")
        t.type("x = = 1\r")
        t.expect("unexpected symbol|near '='", "a text that is wrong")
        t.prompt("after a wrong text")
        t.type("string.rev\t")
        t.expect("erse", "one name completes")
        t.type("('abc')\r")
        t.expect(r"\ncba\r", "what was completed runs")
        t.prompt("after a completed name")
        t.type("gregale.\t")
        t.expect(r"clock +configure +devices +from_json +interrupted +load +map +null\s+on_device_event +parallel +to_json +version +why",
                 "several names are listed")
        t.expect(r"> gregale\.", "the line is shown again")
        t.type(f"load{{ '{MODEL}', device = 'ref' }}\r")
        t.expect(r"gregale\.model \(", "a model")
        t.prompt("after a model")
        t.type(f"s = gregale.load{{ '{MODEL}', device = 'ref' }}:session():append('And')\r")
        t.prompt("after a session")
        t.type("s:gen\t{ max_tokens = 2, temperature = 0 }\r")
        t.expect(r"erate.*\n.*table: 0x", "a method completes; an answer")
        t.prompt("after an answer")
        t.type("s:generate{ ignore_end = true, sampler = 'logit-bias(2:-100);temperature(1)' }\r")
        t.expect("\n", "echo")
        time.sleep(0.5)
        t.type("\x03")
        t.expect("interrupted", "Ctrl-C in an answer")
        t.prompt("after Ctrl-C in an answer")
        t.type("while true do end\r")
        t.expect("\n", "echo")
        time.sleep(0.3)
        t.type("\x03")
        t.expect("interrupted", "Ctrl-C in a loop")
        t.prompt("after Ctrl-C in a loop")
        t.type("x +\r")
        t.expect(">> ", "an expression that lacks its end")
        t.type("\x03")
        t.expect(r"\^C \(again leaves\)", "Ctrl-C takes it back")
        t.prompt("after Ctrl-C")
        t.type("x\r")
        t.expect(r"\n6\r", "globals stay")
        t.prompt("after a global")
        t.type("\x04")
        same(t.code("Ctrl-D"), 0, "Ctrl-D")
        history = pathlib.Path(state, "new/gregale/script_history")
        same(history.stat().st_mode & 0o777, 0o600, "who may read the history")
        t = Terminal("script", environment=environment)
        t.prompt("another start")
        t.type("\x1b[A\x1b[A")  # up, up
        t.expect("while true do end", "history")
        t.type("\x15os.exit(7)\r")
        same(t.code("os.exit"), 7, "os.exit")


def main():
    try:
        os.close(pty.openpty()[0])
    except OSError as error:
        print(f"skipped: no pseudo-terminal ({error})")
        return 77
    for test in (talks_and_leaves, interrupts_at_the_prompt, interrupts_an_answer, interrupts_a_long_prompt,
                 interrupts_the_start, moves_elsewhere, prompts_for_lua, hangs_up, ends_on_request):
        begin = time.monotonic()
        test()
        print(f"{test.__name__}: {time.monotonic() - begin:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
