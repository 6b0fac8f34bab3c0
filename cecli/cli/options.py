"""The options of the commands, each declared once.

Nothing here imports NumPy: the values stay text until a command computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cecli.cli.arguments import SectionOption

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


def option(*names: str, **declared: Any) -> Callable[[str], Callable[[F], F]]:
    """An option as `click.option` takes it, to stand under the heading of its group."""
    return lambda section: click.option(*names, cls=SectionOption, section=section, **declared)


def group(section: str, *options: Callable[[str], Callable[[F], F]]) -> Callable[[F], F]:
    """Options that stand under one heading."""

    def decorate(command: F) -> F:
        for declared in reversed(options):
            command = declared(section)(command)
        return command

    return decorate


def file_names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let the shell complete names of files, where the value may be one."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def _addresses(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """A cluster is the local one, or told by an address or a file."""
    from click.shell_completion import CompletionItem

    if incomplete and "local".startswith(incomplete):
        return [CompletionItem("local")]
    return file_names(context, parameter, incomplete)


logits_argument = click.argument("logits", nargs=-1, shell_complete=file_names)

target_options = group(
    "Target",
    option(
        "-t",
        "--target",
        metavar="TARGET",
        shell_complete=file_names,
        help="The true class: an index from 0 or a label; for a batch a comma list or a "
        "file, one for each sample; FILE.npz:NAME is one array of a file.",
    ),
    option(
        "-q",
        "--soft-target",
        metavar="Q",
        shell_complete=file_names,
        help="Class probabilities instead: numbers as one argument (0.7,0.2,0.1) or a file.",
    ),
)

input_options = group(
    "Input",
    option("--key", metavar="NAME", help="Which array of a file of several the logits are."),
    option(
        "--columns",
        metavar="NAMES",
        help="Which columns of a table are the classes: A,B,C, numbers from 1, A:C or a pattern.",
    ),
    option(
        "--header/--no-header",
        default=None,
        help="Whether a table's first row names its columns (default: found out, or refused).",
    ),
    option(
        "--from",
        "from_",
        type=click.Choice(["logits", "probabilities", "log-probabilities"]),
        default="logits",
        help="What the numbers are (default logits).",
    ),
)

class_options = group(
    "Classes",
    option(
        "--labels",
        metavar="NAMES",
        shell_complete=file_names,
        help="Names of the classes: a comma list or a file (.json, .txt).",
    ),
    option(
        "--axis", type=int, metavar="N", help="The dimension of the classes (default -1, last)."
    ),
)

scaling_options = group(
    "Objective",
    option("--temperature", type=float, metavar="T", help="Divide the logits by T (default 1)."),
    option(
        "--softcap",
        type=float,
        metavar="C",
        help="Replace z by C*tanh(z/C), before the temperature (default: none).",
    ),
)

loss_options = group(
    "Objective",
    option(
        "--weight",
        metavar="WEIGHTS",
        shell_complete=file_names,
        help="A weight for each class: a comma list or a file.",
    ),
    option("--ignore-index", type=int, metavar="N", help="Samples with this target do not count."),
    option(
        "--label-smoothing", type=float, metavar="E", help="Spread this much of the target, 0 to 1."
    ),
    option(
        "--reduction",
        type=click.Choice(["mean", "sum", "none"]),
        help="How the losses of a batch become one (default mean).",
    ),
    option(
        "--z-loss", type=float, metavar="L", help="Add L*logsumexp^2 for each sample (default 0)."
    ),
)

averaging_options = group(
    "Objective",
    option(
        "--sample-weight",
        metavar="WEIGHTS",
        shell_complete=file_names,
        help="A weight for each sample: a comma list or a file; one of 0 does not count.",
    ),
    option(
        "--divisor",
        type=float,
        metavar="N",
        help="What the mean divides by, as a global count of tokens (default: its own).",
    ),
)

exact_option = group(
    "Precision",
    option("--exact", is_flag=True, help="Round every number correctly; the same bits everywhere."),
)

jobs_option = group(
    "Speed",
    option(
        "--jobs",
        type=click.IntRange(min=1),
        metavar="N",
        help="Compute in N threads (default: one for each core).",
    ),
)

cluster_option = group(
    "Speed",
    option(
        "--cluster",
        metavar="ADDRESS",
        shell_complete=_addresses,
        help="Compute on a Dask cluster: its scheduler's address or file; local starts one here.",
    ),
)

summary_options = group(
    "Summary",
    option(
        "--worst",
        type=click.IntRange(min=1),
        metavar="K",
        help="Show the K samples of a batch with the highest loss.",
    ),
)

check_options = group(
    "Check",
    option(
        "--check",
        is_flag=True,
        help="Verify the gradient by finite differences; exit 1 if it fails.",
    ),
    option(
        "--check-method",
        type=click.Choice(["decimal", "central", "forward"]),
        help="decimal proves it (default); the others show the ordinary float64 method.",
    ),
    option("--step", type=float, metavar="H", help="Step of the differences (default: the usual)."),
    option(
        "--seed",
        type=click.IntRange(min=0),
        metavar="N",
        help="Seed of the sample where not everything is checked (default 0).",
    ),
)

compare_options = group(
    "Comparison",
    option(
        "--grad",
        metavar="GRADIENT",
        shell_complete=file_names,
        help="Your gradient: numbers as one argument (0.659,0.2424,0.0986), a file (.npy, "
        ".json), several or a pattern, or - for standard input.",
    ),
    option(
        "--loss",
        metavar="LOSS",
        shell_complete=file_names,
        help="Your loss: a number or a file.",
    ),
    option(
        "--rtol",
        type=float,
        metavar="R",
        help="Relative error to allow (default: what your numbers' precision allows).",
    ),
)

_JSON = option("--json", "json", is_flag=True, help="Print one JSON document.")
_DIGITS = option(
    "--digits",
    type=click.IntRange(1, 17),
    metavar="N",
    default=6,
    help="Digits after the point in tables (default 6).",
)
_THEME = option(
    "--theme",
    type=click.Choice(["light", "dark", "both"]),
    help="Colours of a picture; both follow its reader's system (default both).",
)
_ARRAYS = option(
    "--arrays/--no-arrays",
    default=None,
    help="Keep or leave out the arrays in JSON (default: kept up to 100,000 numbers).",
)

lines_option = group(
    "Output",
    option("--jsonl", "jsonl", is_flag=True, help="Print a line of JSON for each sample."),
)

output_options = group(
    "Output",
    _JSON,
    option("--markdown", is_flag=True, help="Print the tables as Markdown."),
    option(
        "-o",
        "--output",
        metavar="FILE",
        shell_complete=file_names,
        help="Also write FILE: .npy, .npz, .csv (the array), .json (the document), "
        ".jsonl (a line for each sample), .svg (a picture).",
    ),
    option(
        "--dtype",
        type=click.Choice(["float16", "float32", "float64"]),
        help="Type of the array that -o writes (default: the input's).",
    ),
    _THEME,
    _DIGITS,
    option(
        "--top",
        type=click.IntRange(min=0),
        metavar="K",
        default=20,
        help="Show at most K rows of a table; of classes always the target (default 20).",
    ),
    option("--quiet", is_flag=True, help="Show no rows, as --top 0: the loss and the summary."),
    _ARRAYS,
)

explanation_options = group(
    "Output",
    _JSON,
    option("--markdown", is_flag=True, help="Print Markdown with mathematics in $...$."),
    option("--latex", is_flag=True, help="Print a LaTeX document."),
    option("--html", is_flag=True, help="Print a page for a browser, whole in itself."),
    option(
        "-o",
        "--output",
        metavar="FILE",
        shell_complete=file_names,
        help="Also write FILE: .html (a page), .md, .tex, .json, .svg (a picture), .npy "
        "(the gradient).",
    ),
    option("--steps", metavar="STEPS", help="Show only these steps, as 5-7 or 1,4- (default all)."),
    _THEME,
    _DIGITS,
    option(
        "--top",
        type=click.IntRange(min=1),
        metavar="K",
        default=8,
        help="Work out at most K classes, always the target (default 8).",
    ),
    _ARRAYS,
)

sample_option = group(
    "Target",
    option(
        "--sample",
        type=click.IntRange(min=0),
        metavar="N",
        help="Which sample of a batch to explain, counted from 0 (default 0).",
    ),
)

# --- verify ---------------------------------------------------------------------------------------

implementation_argument = click.argument(
    "implementation", required=False, metavar="[MODULE:FUNCTION]", shell_complete=file_names
)
program_argument = click.argument(
    "program", nargs=-1, metavar="[-- PROGRAM [ARGUMENT]...]", shell_complete=file_names
)

implementation_options = group(
    "Implementation",
    option("--torch", is_flag=True, help="MODULE:FUNCTION is a loss of PyTorch, or a module."),
    option("--jax", is_flag=True, help="MODULE:FUNCTION is a loss of JAX."),
    option(
        "--device",
        metavar="DEVICE",
        help="Where PyTorch or JAX computes (default: cpu, the first).",
    ),
    option(
        "--dtype",
        type=click.Choice(["float64", "float32", "float16", "bfloat16"]),
        help="The type of all logits (default: each case's own).",
    ),
    option(
        "--features",
        metavar="NAMES",
        help="What it supports, as weight,label-smoothing, or all (default: functions are "
        "asked, of programs nothing is expected).",
    ),
    option(
        "--one-hot/--indices",
        "one_hot",
        default=None,
        help="Hand classes over as rows of 0 and 1, or as indices (default: found by trying).",
    ),
    option(
        "--isolate/--no-isolate",
        "isolate",
        default=None,
        help="Run a function in a process of its own, so that a hang or a crash fails its case "
        "alone (default: with --timeout).",
    ),
    option(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="How long a program or an isolated function may take for a case (default 10).",
    ),
)

case_options = group(
    "Cases",
    option(
        "-k",
        "globs",
        metavar="GLOB",
        multiple=True,
        help="Only cases or families whose name matches, or none that do: 'not GLOB'; may be given "
        "more than once.",
    ),
    option(
        "--skip",
        metavar="GLOB",
        multiple=True,
        help="Leave out cases or families whose name matches; may be given more than once.",
    ),
    option("--large", is_flag=True, help="Also logits that lie more than 2^31 elements apart."),
)

verdict_options = group(
    "Verdict",
    option(
        "--strict",
        type=click.Choice(["accurate", "acceptable"]),
        default="acceptable",
        help="What a case must be to pass (default acceptable); exit 1 if one does not.",
    ),
    option(
        "--baseline",
        metavar="FILE",
        shell_complete=file_names,
        help="The cases that FILE lists may fail.",
    ),
    option(
        "--update-baseline",
        is_flag=True,
        help="Write the cases that fail, and why, into the file of --baseline; exit 0.",
    ),
)

report_options = group(
    "Output",
    option("-v", "--verbose", is_flag=True, help="Show each case, and why it does not pass."),
    option("--list", "list_cases", is_flag=True, help="List the cases, and run nothing."),
    option(
        "--export",
        metavar="FILE",
        shell_complete=file_names,
        help="Write the cases with exact answers as JSON Lines (- for standard output).",
    ),
    option(
        "--junit",
        metavar="FILE",
        shell_complete=file_names,
        help="Also write the verdicts as JUnit's XML.",
    ),
    _JSON,
    option("--markdown", is_flag=True, help="Print the tables as Markdown."),
)
