# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What the command line says of itself: help, manual page, completions, mistakes; and how loud it is."""
import json
import os
import re
import shutil
import subprocess
import wave

import numpy as np
import pytest
from cli_support import USAGE, check_failure, on_a_terminal

ESCAPE = "\033"


@pytest.fixture(scope="session")
def commands(lathe_tool):
    """Names of all subcommands, as help lists them."""
    text = lathe_tool.ok("--help")
    return re.findall(r"^  ([a-z][a-z-]*) ", text[text.index("Subcommands:") :], re.MULTILINE)


def examples(text):
    """The commands that a help shows, with what they do."""
    lines = text[text.index("Examples:\n") :].splitlines()[1:]
    lines = [line[2:] for line in lines if line.startswith("  ")]
    assert all(line.startswith("# ") for line in lines[::2]) and not any(line.startswith("# ") for line in lines[1::2])
    return lines[1::2]


def test_every_command_has_examples(lathe_tool, commands):
    assert {"compile", "run", "quantize", "generate", "completion", "help"} <= set(commands)
    for command in commands:
        text = lathe_tool.ok(command, "--help")
        assert text == lathe_tool.ok("help", command)
        assert len(examples(text)) >= 2, f"lathe {command} --help has too few examples"
        assert all(f"lathe {command}" in example for example in examples(text))
        for line in text[: text.index("Examples:")].splitlines():
            assert len(line) <= 100, line


@pytest.fixture(scope="session")
def example_folder(linear_onnx, bytes_tokenizer, onnx_path, tmp_path_factory):
    """Where the examples of help find the files that they name."""
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    shutil.copy(linear_onnx, folder / "model.onnx")
    shutil.copy(onnx_path("llama"), folder / "lm.onnx")
    shutil.copy(bytes_tokenizer, folder / "tokenizer.json")
    np.savez(folder / "in.npz", x=rng.normal(size=(2, 4)).astype(np.float32))
    np.save(folder / "tokens.npy", rng.integers(0, 900, 256 * 8))
    (folder / "text.txt").write_text("def main():\n    pass\n")
    (folder / "recipe.json").write_text(json.dumps({"version": 1, "steps": [{"step": "quantize", "bits": 8}]}))
    with wave.open(str(folder / "speech.wav"), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes(rng.integers(-99, 99, 1600).astype(np.int16).tobytes())
    return folder


def test_examples_run(lathe_tool, commands, example_folder):
    environment = {**os.environ, "PATH": f"{lathe_tool.path.parent}{os.pathsep}{os.environ['PATH']}"}
    for command in commands:
        for example in examples(lathe_tool.ok(command, "--help")):
            result = subprocess.run(
                ["bash", "-e", "-c", example], cwd=example_folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
            )
            assert result.returncode == 0, f"{example}\n{result.stdout}{result.stderr}"


def test_manual_page(lathe_tool, commands):
    page = lathe_tool.ok("help", "--man")
    assert page == lathe_tool.ok("help", "--man")
    formatter = next((each for each in ("man", "groff") if shutil.which(each)), None)
    if formatter is None:
        pytest.skip("neither man nor groff is installed")
    command = {"man": ["man", "--warnings", "-E", "UTF-8", "-l", "-"], "groff": ["groff", "-k", "-ww", "-man", "-Tutf8"]}[formatter]
    result = subprocess.run(command, input=page, capture_output=True, text=True, env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}, timeout=60)
    assert result.returncode == 0 and result.stderr == ""
    shown = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", result.stdout)
    for name in commands:
        assert f"lathe {name}" in shown
        for option in re.findall(r"(--[a-z0-9-]+)", lathe_tool.ok(name, "--help").split("Examples:")[0]):
            assert option in shown, f"the manual page lacks {option} of {name}"


def complete_in_bash(lathe_tool, line):
    """What bash offers for the last word of a line."""
    script = lathe_tool.ok("completion", "bash")
    ask = 'COMP_LINE="$1"; COMP_POINT=${#1}; _lathe; printf "%s\\n" "${COMPREPLY[@]}"'
    result = subprocess.run(["bash", "-c", f"{script}\n{ask}", "bash", line], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return result.stdout.split()


@pytest.mark.parametrize(
    "line, offered",
    [
        ("lathe comp", ["compile", "compare", "completion"]),
        ("lathe compile --repo", ["--report"]),
        ("lathe compile m.onnx --emit ", ["artifact", "onnx", "mlir", "llvm", "obj", "ptx"]),
        ("lathe compile m.onnx --emit o", ["onnx", "obj"]),
        ("lathe compile m.onnx --target cpu:avx2", ["avx2"]),  # a colon ends readline's word
        ("lathe run m.lathe --device cuda-", ["cuda-emulator"]),
        ("lathe completion ", ["bash", "zsh", "fish"]),
        ("lathe help quan", ["quantize"]),
        ("lathe run ", []),  # readline then offers files
        ("lathe run --inputs ", []),
        ("lathe nonsense --", []),
    ],
)
def test_bash_completes(lathe_tool, line, offered):
    assert complete_in_bash(lathe_tool, line) == offered


def test_bash_completes_every_option(lathe_tool, commands):
    for name in commands:
        own = re.findall(r"^  (?:-\w, )?(--[a-z0-9-]+)", lathe_tool.ok(name, "--help").split("Examples:")[0], re.MULTILINE)
        assert set(own) == {word for word in complete_in_bash(lathe_tool, f"lathe {name} --")}, name


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_the_script(lathe_tool, commands, tmp_path, shell):
    script = tmp_path / f"lathe.{shell}"
    script.write_text(lathe_tool.ok("completion", shell))
    text = script.read_text()
    for name in commands:
        own = re.findall(r"^  (?:-\w, )?--([a-z0-9-]+)", lathe_tool.ok(name, "--help").split("Examples:")[0], re.MULTILINE)
        assert all(f"{'-l ' if shell == 'fish' else '--'}{option}" in text for option in own), name
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed: what it offers was not looked at")
    assert subprocess.run([shell, "-n", script], capture_output=True, text=True, timeout=60).stderr == ""
    if shell == "fish":
        ask = f"source {script}; complete -C 'lathe comp'; complete -C 'lathe compile --emit o'; complete -C 'lathe compile --repo'"
        answer = subprocess.run(["fish", "--no-config", "-c", ask], capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": str(tmp_path)})
        assert [line.split("\t")[0] for line in answer.stdout.splitlines()] == ["compare", "compile", "completion", "obj", "onnx", "--report"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], ["expected a command", "lathe --help"]),
        (["compil", "m.onnx"], ["'compil' is no command of lathe", "did you mean 'compile'?"]),
        (["xyzzy"], ["'xyzzy' is no command of lathe", "lathe --help"]),
        (["--quite"], ["'--quite' is no option of lathe"]),
        (["compile", "m.onnx", "--ouptut", "m.lathe"], ["'--ouptut' is no option of 'lathe compile'", "did you mean '--output'?"]),
        (["run", "m.lathe", "--frobnicate=3"], ["'--frobnicate' is no option of 'lathe run'", "see 'lathe run --help'"]),
        (["compile", "m.onnx"], ["'lathe compile': --output is required", "see 'lathe compile --help'"]),
        (["run", "m.lathe", "n.lathe"], ["'lathe run' expects no argument 'n.lathe'"]),
        (["bench", "m.lathe", "--threads", "many"], ["'lathe bench'", "--threads", "many"]),
        (["help", "compil"], ["'compil' is no command of lathe"]),
        (["completion", "tcsh"], ["tcsh", "bash"]),
    ],
)
def test_mistakes(lathe_tool, arguments, words):
    result = lathe_tool(*arguments)
    check_failure(result, USAGE, *words)
    assert result.stdout == ""
    assert "did you mean" not in result.stderr or any("did you mean" in word for word in words)


def test_colour_is_for_terminals(lathe_tool):
    command = [lathe_tool.path, "run", "missing.lathe"]
    text, code = on_a_terminal(command)
    assert code == USAGE and f"lathe: {ESCAPE}[1;31merror:{ESCAPE}[0m cannot open 'missing.lathe'" in text
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert ESCAPE not in on_a_terminal(command, **variables)[0]
    assert ESCAPE in on_a_terminal(command, NO_COLOR="")[0]
    assert ESCAPE not in lathe_tool("run", "missing.lathe").stderr
    assert ESCAPE not in lathe_tool.ok("--help")


def test_quiet_and_verbose(lathe_tool, linear_onnx, linear_artifact, npz, tmp_path):
    made = tmp_path / "m.lathe"
    quiet = lathe_tool("compile", linear_onnx, "-o", made, "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "") and made.exists()
    usual = lathe_tool("compile", linear_onnx, "-o", made)
    assert usual.stdout.startswith("wrote ") and usual.stderr == ""
    verbose = lathe_tool("compile", linear_onnx, "-o", made, "--verbose")
    assert verbose.stdout.startswith("wrote ")
    steps = re.findall(r"^lathe: +\d+\.\d{3} s  (.+)$", verbose.stderr, re.MULTILINE)
    assert steps[0] == "import" and len(steps) > 4 and len(verbose.stderr.splitlines()) == len(steps)

    assert lathe_tool.ok("check", linear_onnx, "-q") == ""
    inputs = npz(x=np.ones((2, 4), np.float32))
    run = lathe_tool("run", linear_artifact, "--inputs", inputs, "-v")
    assert run.stdout.startswith("y: ") and re.search(r"^lathe: device cpu .* threads; loaded in .* ms; first run .* ms", run.stderr)
    assert lathe_tool("run", linear_artifact, "--inputs", inputs).stderr == ""
    check_failure(lathe_tool("run", "missing.lathe", "-q"), USAGE, "missing.lathe")


def test_quiet_keeps_what_was_asked_for(lathe_tool, linear_artifact, npz, tmp_path):
    inputs = npz(x=np.ones((2, 4), np.float32))
    asked = ("run", linear_artifact, "--inputs", inputs)
    assert lathe_tool.ok(*asked, "-q") == lathe_tool.ok(*asked)
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, y=np.zeros((2, 3), np.float32))
    result = lathe_tool(*asked, "--expect", wrong, "-q")
    assert result.returncode == 4 and "FAILED" in result.stdout
