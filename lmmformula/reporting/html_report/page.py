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
figure svg{width:100%;height:auto;display:block}
figcaption{color:var(--soft);font-size:.88rem;margin-top:.25rem}
details{margin:.6rem 0}
summary{cursor:pointer;font-weight:600}
a{color:var(--accent);overflow-wrap:anywhere}
@media print{main{max-width:none;padding:0}section{break-inside:auto}figure,table{break-inside:avoid}}
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
