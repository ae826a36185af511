"""The page around the sections: head, style sheet, title."""

from __future__ import annotations

from html import escape

__all__ = ["page"]

_STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1c2229;--soft:#5b6672;--line:#d5dae0;--fill:#f4f6f8;--accent:#1f66ad;
--warn-back:#fff6e5;--warn-line:#d9902b}
@media (prefers-color-scheme:dark){:root{--back:#14171b;--text:#e3e7ec;--soft:#9aa5b1;--line:#363d46;--fill:#1d2228;
--accent:#7db4ea;--warn-back:#2b2416;--warn-line:#c08a3a}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}
h1{font-size:1.65rem;line-height:1.25;margin:.5rem 0 .75rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.2rem 0 .7rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.4rem 0 .4rem}
p{margin:.5rem 0}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.875em}
code.formula{display:block;background:var(--fill);border-radius:6px;padding:.6rem .8rem;overflow-wrap:anywhere}
code.formula span{display:inline-block;max-width:100%}
pre{background:var(--fill);border-radius:6px;padding:.7rem .8rem;overflow-x:auto;margin:.5rem 0}
.note,.data{color:var(--soft);font-size:.9rem}
.scroll{overflow-x:auto;margin:.3rem 0 .9rem;background:
linear-gradient(to right,var(--back) 30%,transparent) 0 0/2rem 100% no-repeat local,
linear-gradient(to left,var(--back) 30%,transparent) 100% 0/2rem 100% no-repeat local,
linear-gradient(to right,var(--line),transparent) 0 0/.7rem 100% no-repeat scroll,
linear-gradient(to left,var(--line),transparent) 100% 0/.7rem 100% no-repeat scroll}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}
.caption{font-weight:600;font-size:.92rem;margin:1.1rem 0 .2rem}
th,td{padding:.22rem .7rem;text-align:right;white-space:nowrap}
thead th{border-bottom:1px solid var(--soft);font-weight:600}
tbody tr+tr>*{border-top:1px solid var(--line)}
th.left,td.left{text-align:left}
th:first-child,td:first-child{padding-left:0}
table.pairs th{text-align:left;font-weight:400;color:var(--soft);vertical-align:top;padding-left:0;white-space:normal}
table.pairs td{text-align:left;white-space:normal;overflow-wrap:anywhere}
.math{font-family:"STIX Two Text","Cambria Math",Cambria,"Times New Roman",serif;font-size:1.08rem;overflow-x:auto;
padding:.15rem 0;margin:.35rem 0}
.math .line{padding-left:2.2em;text-indent:-2.2em;margin:.3rem 0}
.math sub,.math sup{font-size:.72em;line-height:0}
.math .name{font-family:inherit;font-style:normal}
.math .term{white-space:nowrap}
.flags{background:var(--warn-back);border-left:4px solid var(--warn-line);border-radius:0 6px 6px 0;
padding:.6rem .8rem .6rem 1.9rem;margin:.7rem 0}
ul{padding-left:1.2rem;margin:.5rem 0}
li{margin:.25rem 0}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,25rem),1fr));gap:1.2rem}
figure{margin:0}
figure.wide{grid-column:1/-1;max-width:46rem}
figure svg{width:100%;height:auto;display:block}
figcaption{color:var(--soft);font-size:.88rem;margin-top:.25rem}
.figures.small{grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr))}
nav.contents ul{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;list-style:none;padding:0;margin:.9rem 0 0;font-size:.92rem}
details{margin:.6rem 0}
summary{cursor:pointer;font-weight:600}
a{color:var(--accent);overflow-wrap:anywhere}
@page{size:A4;margin:12mm 12mm 14mm}
@media print{
:root{color-scheme:light;--back:#fff;--text:#000;--soft:#444;--line:#bbb;--fill:#f4f4f4;--accent:#000;--warn-back:#fff}
html{font-size:9.5pt}
body{font-size:1rem;line-height:1.4}
main{max-width:none;padding:0}
h1{font-size:1.5rem;margin:0 0 .4rem}
h2{font-size:1.15rem;margin:1.1rem 0 .35rem}
h3{margin:.7rem 0 .2rem}
h1,h2,h3,.caption{break-after:avoid}
.caption{margin:.5rem 0 .1rem}
p,li{orphans:3;widows:3;margin-top:.2rem;margin-bottom:.2rem}
figure,table,.math,.flags,tr,li,pre{break-inside:avoid}
.scroll{overflow:visible;background:none;margin:.1rem 0 .4rem}
.scroll th,.scroll td{padding-top:.1rem;padding-bottom:.1rem;white-space:normal}
pre{white-space:pre-wrap}
.figures{grid-template-columns:repeat(2,1fr);gap:.5rem .9rem}
.figures.small{grid-template-columns:repeat(3,1fr)}
figure{max-height:9.5cm;overflow:hidden}
figure svg{max-height:8.6cm}
figcaption{font-size:.8rem;line-height:1.25;margin-top:0}
table.pairs{font-size:.88rem}
details{display:none}
#versions tr{display:inline-flex;border:0;margin-right:1.4rem}
#versions tr>*{border:0;padding-right:.5rem}
a{text-decoration:none}
}
@media (max-width:30rem){main{padding:1rem .9rem 3rem}h1{font-size:1.35rem}th,td{padding:.2rem .5rem}}
"""


def page(title: str, html: str, date: str = "") -> str:
    """A whole document without scripts and without anything to load."""
    stamp = f'<p class="data">{escape(date)}</p>\n' if date else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{stamp}{html}\n</main>\n</body>\n</html>\n"
    )
