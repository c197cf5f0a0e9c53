"""Figures as SVG for files and pages, and as PNG."""

import io
import re
from typing import TYPE_CHECKING

from mmcache.store.ground.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 200
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_OUTSIDE = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
_NAMESPACES = re.compile(r'\sxmlns(:\w+)?="[^"]*"')
_IDS = re.compile(r'(\bid="|\bhref="#|url\(#)')


def take_texts_literally(figure: "Figure") -> None:
    """Show every text as it is: names come from data, and may hold control characters, which SVG cannot, or dollars."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
        if text.get_text() != printable(text.get_text()):
            text.set_text(printable(text.get_text()))


def to_svg(figure: "Figure") -> str:
    """A figure as an SVG document, the same bytes whenever it is drawn."""
    import matplotlib

    take_texts_literally(figure)
    svg = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "mmcache", "svg.fonttype": "path"}):
        figure.savefig(svg, format="svg", metadata=_NO_METADATA)
    return svg.getvalue()


def to_png(figure: "Figure") -> bytes:
    """A figure as PNG bytes."""
    take_texts_literally(figure)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    return png.getvalue()


def inline_svg(svg: str, prefix: str) -> str:
    """An SVG document as an element of a page: no namespaces, no metadata, and ids that no other one has."""
    body = _OUTSIDE.sub("", svg).strip()
    body = _NAMESPACES.sub("", body).replace("xlink:href", "href")
    return _IDS.sub(lambda found: found[0] + prefix, body)
