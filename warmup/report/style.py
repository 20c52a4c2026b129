"""The page's one style sheet. No font, no image and no script is fetched from anywhere."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--bg:#f7f8fa;--card:#fff;--ink:#16202c;--soft:#5a6878;--line:#dde3ea;
--good:#0e7150;--goodbg:#e2f5ec;--bad:#c02b30;--badbg:#fdeaea;--meh:#8a5a00;--mehbg:#fdf1da;
--link:#1c5fc4;--code:#f0f3f7;--kernels:#7a4fd0;--spawn:#5b7083;--ready:#2f7de0;--request:#0f9f8f;
--ladder:#5f9c1a;--stop:#c77b12;--memory:#b04a86;--other:#78869a}
@media(prefers-color-scheme:dark){:root{--bg:#0e141b;--card:#161f29;--ink:#e7edf4;--soft:#9aabbd;
--line:#2a3644;--good:#4fd19f;--goodbg:#12352a;--bad:#ff8a86;--badbg:#431d20;--meh:#f0b95a;
--mehbg:#3b2c10;--link:#82b4ff;--code:#0f1720;--kernels:#a98bf0;--spawn:#8ea3b6;--ready:#5aa0f5;
--request:#35c4b3;--ladder:#93cc4c;--stop:#e6a13f;--memory:#d97bb3;--other:#8a9aae}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;-webkit-text-size-adjust:100%}
main,header,footer{max-width:66rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2rem}footer{padding-bottom:2.5rem;color:var(--soft);font-size:.875rem}
h1{font-size:1.75rem;line-height:1.2;margin:.35rem 0 .5rem;letter-spacing:-.015em}
h2{font-size:1.15rem;margin:0 0 .9rem;letter-spacing:-.005em}
h3{font-size:1rem;margin:1.1rem 0 .4rem}
p{margin:.4rem 0}a{color:var(--link)}
.eyebrow{font-size:.8rem;font-weight:600;letter-spacing:.06em;text-transform:uppercase;
color:var(--soft);margin:0}
.soft{color:var(--soft)}.small{font-size:.875rem}
code,pre,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
font-size:.84em}
code{background:var(--code);border-radius:.25rem;padding:.1em .35em;overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--line);border-radius:.75rem;
padding:1.15rem 1.25rem;margin:1.1rem 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;
margin:1.25rem 0 0;padding:0}
.tiles>div{background:var(--card);border:1px solid var(--line);border-radius:.75rem;
padding:.7rem .95rem}
.tiles dt{color:var(--soft);font-size:.8rem}
.tiles dd{margin:0;font-size:1.35rem;font-weight:650;letter-spacing:-.01em}
.tiles .note{display:block;font-size:.78rem;font-weight:400;color:var(--soft);letter-spacing:0}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th{text-align:left;font-weight:600;color:var(--soft);font-size:.8rem;white-space:nowrap}
th,td{padding:.5rem .75rem .5rem 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child>td,tr:last-child>th[scope=row]{border-bottom:0}
td.num,th.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th[scope=row]{color:var(--ink);font-size:.92rem;white-space:normal;overflow-wrap:anywhere;min-width:12rem}
td{overflow-wrap:anywhere}
.state{display:inline-block;border-radius:1rem;padding:.05rem .6rem;font-size:.82rem;
font-weight:600;white-space:nowrap;background:var(--code);color:var(--soft)}
.state.good{background:var(--goodbg);color:var(--good)}
.state.bad{background:var(--badbg);color:var(--bad)}
.state.meh{background:var(--mehbg);color:var(--meh)}
.wide{overflow-x:auto}
.lane{margin:0 0 1rem}.lane:last-child{margin:0}
.lane h3{display:flex;flex-wrap:wrap;gap:.1rem .6rem;align-items:baseline;margin:0 0 .25rem;
font-size:.92rem;overflow-wrap:anywhere}
.lane h3 .soft{font-weight:400;font-size:.85rem}
svg{display:block;width:100%;border-radius:.25rem;background:var(--code)}
svg.bar{height:1.15rem}svg.bar.two{height:1.7rem}
svg.trend{height:7rem}svg.spark{height:1.6rem;min-width:7rem;max-width:14rem}
td.signs{letter-spacing:.25em}
.key{display:flex;flex-wrap:wrap;gap:.1rem 1rem;list-style:none;margin:.3rem 0 0;padding:0;
font-size:.82rem;color:var(--soft)}
.key i{display:inline-block;width:.7rem;height:.7rem;border-radius:.15rem;margin-right:.4rem;
vertical-align:-.05rem;border:1px solid transparent}
.key .ticks i{width:.15rem}
.ends{display:flex;justify-content:space-between;font-size:.8rem;color:var(--soft);
margin-top:.3rem}
details{border-top:1px solid var(--line);padding:.6rem 0}
details:first-of-type{border-top:0}details:last-child{padding-bottom:0}
summary{cursor:pointer;font-weight:600;overflow-wrap:anywhere}
summary .state{margin-left:.4rem}
summary:focus-visible,a:focus-visible,[tabindex]:focus-visible{outline:2px solid var(--link);
outline-offset:2px;border-radius:.25rem}
pre{background:var(--code);border:1px solid var(--line);border-radius:.5rem;padding:.7rem .85rem;
overflow-x:auto;margin:.5rem 0;line-height:1.45;font-size:.8rem;max-height:28rem}
mark{background:var(--badbg);color:var(--bad);font-weight:600}
.trouble{border-left:.25rem solid var(--bad);background:var(--badbg);border-radius:.25rem;
padding:.5rem .8rem;margin:.5rem 0;overflow-wrap:anywhere}
.growth{display:grid;grid-template-columns:minmax(5rem,max-content) 1fr max-content;
gap:.35rem .8rem;align-items:center;margin:0}
.growth dt{overflow-wrap:anywhere}.growth dd{margin:0}
.growth .num{font-variant-numeric:tabular-nums;text-align:right}
.p-kernels{fill:var(--kernels);background:var(--kernels)}
.p-spawn{fill:var(--spawn);background:var(--spawn)}
.p-ready{fill:var(--ready);background:var(--ready)}
.p-request{fill:var(--request);background:var(--request)}
.p-ladder{fill:var(--ladder);background:var(--ladder)}
.p-stop{fill:var(--stop);background:var(--stop)}
.p-memory{fill:var(--memory);background:var(--memory)}
.p-other{fill:var(--other);background:var(--other)}
.p-step{fill:var(--other);background:var(--other);opacity:.55}.p-gap{fill:var(--card)}.p-tick{fill:var(--ink);background:var(--ink)}
.p-good{fill:var(--good)}.p-bad{fill:var(--bad)}.p-meh{fill:var(--meh)}
.failed{stroke:var(--bad);stroke-width:3;vector-effect:non-scaling-stroke}
.skip{position:absolute;left:-999rem}.skip:focus{left:1rem;top:.5rem}
@media(max-width:42rem){
header{padding-top:1.25rem}h1{font-size:1.4rem}
main,header,footer{padding-left:.85rem;padding-right:.85rem}section{padding:.95rem .9rem}
.tiles{grid-template-columns:1fr 1fr;gap:.5rem}
.tiles>div:last-child:nth-child(odd){grid-column:1/-1}
.tiles dd{font-size:1.15rem}
table.cards thead{position:absolute;left:-999rem}
table.cards tr{display:block;border-bottom:1px solid var(--line);padding:.6rem 0}
table.cards tr:last-child{border-bottom:0;padding-bottom:0}
table.cards td,table.cards th[scope=row]{display:block;border:0;padding:.1rem 0;text-align:left;
white-space:normal}
table.cards td:empty{display:none}
table.cards td[data-label]::before{content:attr(data-label) ": ";color:var(--soft);
font-size:.82rem}}
@media print{body{background:#fff}section{break-inside:avoid}}
"""
