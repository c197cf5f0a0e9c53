"""Figures as SVG for files and pages, and as PNG."""

import io
import re

from mmcache.fuse.report.plots import Plot

_DPI = 200
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_OUTSIDE = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
_NAMESPACES = re.compile(r'\sxmlns(:\w+)?="[^"]*"')
_IDS = re.compile(r'(\bid="|\bhref="#|url\(#)')


def draw_plot(plot: Plot) -> tuple[str, bytes]:
    """A plot as an SVG document and as PNG bytes."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with matplotlib.rc_context({"svg.hashsalt": "mmcache", "svg.fonttype": "path"}):
        figure = plot.draw()
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata=_NO_METADATA)
        FigureCanvasAgg(figure).print_png(png, metadata={"Software": None}, pil_kwargs={"dpi": (_DPI, _DPI)})
    return svg.getvalue(), png.getvalue()


def inline_svg(svg: str, prefix: str) -> str:
    """An SVG document as an element of a page: no namespaces, no metadata, and ids that no other one has."""
    body = _OUTSIDE.sub("", svg).strip()
    body = _NAMESPACES.sub("", body).replace("xlink:href", "href")
    return _IDS.sub(lambda found: found[0] + prefix, body)
