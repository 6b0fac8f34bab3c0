"""A notebook's kernel, which shows every result."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from support.process import LIMIT

CELLS = {
    "cecli.cross_entropy([2.0, 1.0, 0.1], 0)": "CrossEntropy: loss 0.41703",
    "cecli.explain([2.0, 1.0, 0.1], 0)": "Derivation",
    "cecli.compare([2.0, 1.0, 0.1], 0, loss=3)": "WRONG",
    "cecli.check_gradient([2.0, 1.0, 0.1], 0, [-0.34, 0.24, 0.1])": "GradientCheck: FAILED",
    "cecli.verify(cecli.cross_entropy, only=['ties'])": "cross_entropy: 11 of 11",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel's own packages
def test_a_notebook_shows_them() -> None:
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    kernel = manager.KernelManager(kernel_name="python3")
    kernel.kernel_spec.argv[0] = sys.executable
    kernel.start_kernel()
    client = kernel.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=LIMIT)
        shown: list[dict[str, str]] = []

        def take(message: dict[str, Any]) -> None:
            assert message["msg_type"] != "error", message["content"]
            if message["msg_type"] == "execute_result":
                shown.append(message["content"]["data"])

        for source in [f"import sys; sys.path[:] = {sys.path!r}", "import cecli", *CELLS]:
            client.execute_interactive(source, timeout=LIMIT, output_hook=take)
        assert len(shown) == len(CELLS)
        for data, begins in zip(shown, CELLS.values(), strict=True):
            assert data["text/plain"].startswith(begins)
            assert '<div class="cecli">' in data["text/html"]
        assert "$$" in shown[1]["text/markdown"]
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
