"""A derivation as a page of HTML, whole in itself, and as a part of a notebook.

Formulas are MathML in the colours of the terminal; the page runs no script and fetches nothing.
"""

from __future__ import annotations

from cecli.derivation.mathml import equations, math, matrix
from cecli.derivation.model import Derivation, Step
from cecli.derivation.notation import QUANTITIES, split_prose
from cecli.text.html import Align, bar, escaped, signed_bar, style, table

TITLE = "The gradient of softmax cross-entropy, step by step"
# The reader's system has one of these, or a font for mathematics of its own.
_RULES = """\
.cecli math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", math; }
.cecli .equations { margin-left: 1.5em; }
.cecli .equations td { padding: .28em .35em .28em 0; }
.cecli .equations td:first-child, .cecli .whole { white-space: nowrap; }
.cecli .scroll { overflow-x: auto; overflow-y: hidden; }
.cecli .formula { margin-left: 1.5em; }
.cecli .case { margin-right: .8em; white-space: nowrap; }
.cecli .matrix { margin: .6em 0 .6em 1.5em; width: fit-content;
  font-size: min(1em, calc((100cqw - 2em) / var(--w) / .62)); }
.cecli .matrix mtd { padding: .15em .5em; text-align: left; }
.cecli .legend span { display: inline-block; margin-right: 1.2em; font-weight: 600; }
@container (max-width: 34em) {
  .cecli .equations, .cecli .formula, .cecli .matrix { margin-left: 0; }
  .cecli .equations, .cecli .equations tbody, .cecli .equations tr { display: block; }
  .cecli .equations tr { padding: .15em 0 .15em 1.2em; text-indent: -1.2em; }
  .cecli .equations td, .cecli .equations td:first-child { display: inline; padding: 0;
    white-space: normal; }
  .cecli .equations mphantom { display: none; }
}
"""
_PUNCTUATION = ".,;:)…"
_PAGE_RULES = """\
body { margin: 0; background: Canvas; }
main { max-width: 50rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; box-sizing: border-box;
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.1rem; margin: 1.8rem 0 .3rem; }
@media print {
  main { max-width: none; padding: 0; font-size: 10pt; }
  h2 { break-after: avoid; }
  .scroll { overflow: visible; }
  tr, .formula, .matrix { break-inside: avoid; }
}
"""


def page(derivation: Derivation) -> str:
    """The whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        f'<link rel="icon" href="data:,">\n<title>{TITLE}</title>\n'
        f"{style('page', _RULES, _PAGE_RULES)}</head>\n<body>\n"
        f'<main class="cecli">\n<h1>{TITLE}</h1>\n{_body(derivation, "h2")}</main>\n'
        "</body>\n</html>"
    )


def notebook_part(derivation: Derivation) -> str:
    """The same inside of a page whose colours it takes."""
    return f'{style("notebook", _RULES)}<div class="cecli">\n{_body(derivation, "h3")}</div>'


def _body(derivation: Derivation, heading: str) -> str:
    parts = [_paragraph(paragraph) for paragraph in derivation.premises]
    if derivation.results:
        parts.append(_results(derivation))
    parts += [f"<section>\n{_step(step, heading)}</section>\n" for step in derivation.steps]
    named = "".join(f'<span class="{key}">{name}</span> ' for key, name in QUANTITIES.items())
    return "".join(parts) + f'<p class="legend dim">In colour: {named}</p>\n'


def _step(step: Step, heading: str) -> str:
    parts = [f'<{heading} id="{step.id}">{step.number}. {_prose(step.title)}</{heading}>\n']
    parts += map(_paragraph, step.text)
    parts += [f'<p class="formula">{math(line, display=True)}</p>\n' for line in step.formula]
    if step.substitution:
        parts.append(equations(step.substitution))
    if step.matrix:
        parts.append(matrix(step.matrix) + "\n")
    parts += map(_paragraph, step.remark)
    return "".join(parts)


def _results(derivation: Derivation) -> str:
    """Each class from its logit to its derivative, as `cecli grad` shows it."""
    results, true_class = derivation.results, derivation.true_class
    largest = max(abs(result.grad) for result in results) or 1.0
    with_target = true_class is None
    rows = []
    for result in results:
        target = [math(f"⟦y:{result.target:.6g}⟧")] if with_target else []
        probability, grad = result.texts
        drawn = bar(result.probability), signed_bar(result.grad / largest)
        numbers = [math(result.logit), *target, math(probability), drawn[0], math(grad), drawn[1]]
        rows.append([escaped(result.name), *numbers])
    headers: list[tuple[str, Align]] = [("class", "text"), (math("z_i"), "number")]
    headers += [(math("y_i"), "number")] if with_target else []
    headers += [(math("ŷ_i"), "number"), ("", "bar"), (math("∂L/∂z_i"), "number")]
    headers.append(('<span class="up">up</span> │ <span class="down">down</span>', "bar"))
    stressed = frozenset([] if true_class is None else [true_class])
    more = f'<p class="dim">… and {derivation.more:,} more</p>\n' if derivation.more else ""
    meaning = "up │ down: what a step of gradient descent does to the logit."
    loss = f"<p>The loss is {math(f'L = {derivation.loss}')}.</p>\n"
    return table(headers, rows, stressed) + more + f'<p class="dim">{meaning}</p>\n' + loss


def _paragraph(text: str) -> str:
    return f"<p>{_prose(text)}</p>\n"


def _prose(text: str) -> str:
    drawn = ""
    for part, is_formula in split_prose(text):
        if is_formula:
            drawn += math(part)
            continue
        rest = part.lstrip(_PUNCTUATION) if drawn.endswith("</math>") else part
        if rest != part:  # a formula and the comma behind it stay together
            before, formula = drawn[: (last := drawn.rindex("<math"))], drawn[last:]
            stop = escaped(part[: len(part) - len(rest)])
            drawn = f'{before}<span class="whole">{formula}{stop}</span>'
        drawn += escaped(rest)
    return drawn
