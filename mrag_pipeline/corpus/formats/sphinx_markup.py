"""Makes docutils keep the text of Sphinx's directives and roles, which it does not know.

Without this everything below a `.. function::` would be lost, and most reStructuredText is
written for Sphinx.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives, roles
from docutils.parsers.rst.languages import en

_CODE = {"code-block", "sourcecode", "doctest", "testcode", "testoutput", "ipython", "prompt"}
_HIDDEN = set(
    """toctree index highlight currentmodule py:currentmodule module py:module moduleauthor
    sectionauthor codeauthor tabularcolumns automodule autoclass autofunction automethod
    autosummary autodata autoattribute autoexception literalinclude graphviz
    inheritance-diagram testsetup testcleanup default-domain plot""".split()  # noqa: SIM905
)
# Sphinx's code-block has options that docutils' own lacks.
_DOCUTILS_OWN = set(en.directives) - _CODE
_PROSE = {"versionadded", "versionchanged", "versionremoved", "deprecated", "deprecated-removed"}
_DIRECTIVE = re.compile(r"^[ \t]*\.\.[ \t]+([\w:.+-]+?)[ \t]?::(?:[ \t]|$)", re.MULTILINE)
_ROLE = re.compile(r":([a-zA-Z][\w:.+-]*?):`")
_TARGET = re.compile(r"^(.*?)\s*<[^<>]*>$", re.DOTALL)


def accept_sphinx_markup(source: str) -> None:
    """Registers a text's unknown directives and roles with docutils, for the whole process."""
    for name in {match.lower() for match in _DIRECTIVE.findall(source)} - _DOCUTILS_OWN:
        kind = _Code if name in _CODE else _Hidden if name in _HIDDEN else _Shown
        directives.register_directive(name, kind)
    for name in {match.lower() for match in _ROLE.findall(source)} - set(en.roles):
        roles.register_local_role(name, _role)  # type: ignore[arg-type]


class _AnyOption(dict[str, Any]):
    """An option table that accepts every option."""

    def __getitem__(self, key: str) -> Any:
        return directives.unchanged

    def __bool__(self) -> bool:
        return True


class _Shown(Directive):
    """Shows the arguments, one on each line, and the content below them."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec: ClassVar[Any] = _AnyOption()

    def run(self) -> list[nodes.Node]:
        shown: list[nodes.Node] = []
        for line in "".join(self.arguments).splitlines():
            if self.name in _PROSE:
                children, messages = self.state.inline_text(line, self.lineno)
                shown += [nodes.paragraph("", "", *children), *messages]
            else:  # a signature: its stars are not markup
                shown.append(nodes.paragraph("", line.strip()))
        body = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, body)
        return [*shown, body]


class _Code(_Shown):
    """Shows the content unchanged."""

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        return [nodes.literal_block(text, text)] if text else []


class _Hidden(_Shown):
    """Shows nothing: what the directive stands for is not in the file."""

    def run(self) -> list[nodes.Node]:
        return []


def _role(
    name: str,  # noqa: ARG001 - docutils passes all of these
    rawtext: str,
    text: str,
    lineno: int,  # noqa: ARG001
    inliner: Any,  # noqa: ARG001
    options: Any = None,  # noqa: ARG001
    content: Any = (),  # noqa: ARG001
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    plain = text.replace("\x00", "")  # docutils marks an escaping backslash with NUL
    titled = _TARGET.match(plain)
    return [nodes.literal(rawtext, titled[1] if titled and titled[1] else plain.lstrip("~!"))], []
