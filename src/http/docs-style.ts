/** The style sheet of `/docs`: system fonts only, for the page must not reach outside. */
export const DOCS_STYLE = `
:root {
  color-scheme: light dark;
  --ground: #ffffff; --raised: #f6f7f9; --line: #e1e4ea; --ink: #1b1f27; --soft: #5a6272; --accent: #2f5bd8;
  --get: #1f7a4d; --post: #2f5bd8; --patch: #93610b; --put: #93610b; --delete: #b3322b;
  --mono: ui-monospace, "SF Mono", "Cascadia Code", "JetBrains Mono", Menlo, Consolas, monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12151b; --raised: #1a1e26; --line: #2b313d; --ink: #e6e9ef; --soft: #9aa3b4; --accent: #8fadff;
    --get: #6fce9d; --post: #8fadff; --patch: #e2b765; --put: #e2b765; --delete: #f0877f;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1.5rem; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0; background: var(--ground); color: var(--ink); line-height: 1.6;
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  display: grid; grid-template-columns: 18rem minmax(0, 1fr);
}
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
code, pre { font-family: var(--mono); font-size: 0.86em; }
:not(pre) > code { background: var(--raised); border-radius: 4px; padding: 0.1em 0.35em; overflow-wrap: anywhere; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--ground); padding: 0.5rem 1rem; z-index: 1; }

nav {
  position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 1.75rem 1.25rem;
  border-right: 1px solid var(--line); background: var(--raised); font-size: 0.875rem;
}
nav .brand { font-size: 1.15rem; font-weight: 650; letter-spacing: -0.01em; margin: 0; color: var(--ink); display: block; }
nav .version { color: var(--soft); margin: 0 0 1.25rem; font-size: 0.8rem; }
nav h2 { font-size: 0.72rem; letter-spacing: 0.07em; text-transform: uppercase; color: var(--soft); margin: 1.4rem 0 0.35rem; }
nav ul { list-style: none; margin: 0; padding: 0; }
nav li a { display: flex; gap: 0.5rem; padding: 0.16rem 0; color: var(--ink); line-height: 1.4; }
nav li .method { flex: 0 0 3.1rem; font-size: 0.62rem; line-height: 1.4rem; padding: 0; background: none; border: 0; }

main { padding: 2.5rem clamp(1.25rem, 4vw, 4rem) 6rem; max-width: 62rem; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 1rem; }
main > section > h2 { font-size: 1.4rem; letter-spacing: -0.015em; margin: 4rem 0 0; padding-bottom: 0.5rem; border-bottom: 1px solid var(--line); }
article { padding: 2rem 0 2.25rem; border-bottom: 1px solid var(--line); }
article h3 { font-size: 1.1rem; margin: 0 0 0.5rem; letter-spacing: -0.01em; }
article h3 a { color: inherit; }
h4 { font-size: 0.75rem; letter-spacing: 0.06em; text-transform: uppercase; color: var(--soft); margin: 1.6rem 0 0.4rem; }
.route { display: flex; flex-wrap: wrap; align-items: center; gap: 0.6rem; margin: 0 0 0.75rem; }
.route code { background: none; padding: 0; font-size: 0.92rem; }
.method {
  font: 650 0.7rem/1 var(--mono); letter-spacing: 0.03em; padding: 0.32em 0.5em; border-radius: 4px;
  border: 1px solid currentColor; text-transform: uppercase;
}
.get { color: var(--get); } .post { color: var(--post); } .put { color: var(--put); }
.patch { color: var(--patch); } .delete { color: var(--delete); }
.scope { font-size: 0.78rem; color: var(--soft); margin-left: auto; }
p { margin: 0.5rem 0; max-width: 44rem; }

dl { margin: 0; border-top: 1px solid var(--line); }
dl > div { display: grid; grid-template-columns: minmax(9rem, 15rem) minmax(0, 1fr); gap: 0 1.25rem; padding: 0.5rem 0; border-bottom: 1px solid var(--line); }
dl > div:last-child { border-bottom: 0; }
dt code { background: none; padding: 0; font-weight: 600; color: var(--ink); overflow-wrap: anywhere; }
dt .mark { display: block; font-size: 0.72rem; color: var(--soft); }
dd { margin: 0; font-size: 0.92rem; }
dd .type { color: var(--soft); font: 0.8rem var(--mono); }
dd dl { margin: 0.4rem 0 0.2rem; padding-left: 0.9rem; border-top: 0; border-left: 2px solid var(--line); }
dd dl > div { grid-template-columns: minmax(7rem, 11rem) minmax(0, 1fr); }
details { margin-top: 0.25rem; }
summary { cursor: pointer; color: var(--accent); font-size: 0.85rem; width: max-content; }

pre {
  margin: 0.4rem 0 0; padding: 0.9rem 1.1rem; background: var(--raised); border: 1px solid var(--line);
  border-radius: 8px; overflow-x: auto; line-height: 1.55; tab-size: 2;
}
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; margin-top: 1rem; }
th { text-align: left; font-size: 0.75rem; letter-spacing: 0.05em; text-transform: uppercase; color: var(--soft); }
th, td { padding: 0.45rem 1rem 0.45rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }

@media (max-width: 56rem) {
  body { grid-template-columns: minmax(0, 1fr); }
  nav { position: static; height: auto; border-right: 0; border-bottom: 1px solid var(--line); }
  nav ul { columns: 2 14rem; }
  dl > div, dd dl > div { grid-template-columns: minmax(0, 1fr); }
  .scope { margin-left: 0; }
}
@media print {
  body { display: block; }
  nav { display: none; }
}
`;
