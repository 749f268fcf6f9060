"""Texts of callers in the log steer no terminal."""

from __future__ import annotations

import json
import subprocess
import sys

EVIL = "\x1b]0;owned\x07\x1b[2J\r\n2026-01-01 [info] forged\x9b31m\x7f\u202egpj.exe\u2028next"
STEERS = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *"\u2028\u202e"} - {"\n"}
PROGRAM = """
import logging, sys, structlog
from status_grpc.server.logs import configure_logs

configure_logs("info", sys.argv[1])
evil = eval(sys.argv[2])
log = structlog.get_logger("ours")
log.info(evil, trace_id=evil, values=[evil, {evil: evil}], **{evil: 1}, number=2**70, half=chr(0xD800))
logging.getLogger("theirs").warning("said %s", evil)
try:
    raise ValueError(evil)
except ValueError as error:
    log.error("failed", exc_info=error)
    logging.getLogger("theirs").exception("failed")
"""


def logged(style: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", PROGRAM, style, ascii(EVIL)], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.decode()


def test_console_log_escapes_every_text_of_a_caller():
    text = logged("console")
    assert not STEERS & set(text)
    lines = text.rstrip("\n").split("\n")
    assert not any(line.startswith("2026-01-01") for line in lines), "a line was forged"
    assert len([line for line in lines if not line.startswith("  ")]) == 4
    assert "\\x1b]0;owned\\x07\\x1b[2J\\x0d\\x0a2026-01-01" in lines[0]
    assert sum("ValueError: \\x1b]0;owned" in line for line in lines) == 2


def test_json_log_stays_json_whatever_is_logged():
    text = logged("json")
    assert not STEERS & set(text)
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == 4
    assert lines[0]["trace_id"] == EVIL
    assert (lines[0]["number"], lines[0]["half"]) == (2**70, "\ud800")
    assert EVIL in lines[1]["event"]
    assert "ValueError" in lines[2]["exception"]
