// What every page has around it. Written into each page when it is built, so that it is there before any script.

/** A page of the navigation: where it is, its file, and what people call it. */
export interface Page {
  path: string;
  file: string;
  name: string;
}

/** In the order of the navigation. A page without a file is left out. */
export const PAGES: readonly Page[] = [
  { path: '/overview', file: 'overview.html', name: 'Overview' },
  { path: '/', file: 'index.html', name: 'Live' },
  { path: '/titles', file: 'titles.html', name: 'Titles' },
  { path: '/licensing', file: 'licensing.html', name: 'Licensing' },
  { path: '/clickstream', file: 'clickstream.html', name: 'Clickstream' },
  { path: '/concurrency', file: 'concurrency.html', name: 'Concurrency' },
  { path: '/projections', file: 'projections.html', name: 'Projections' },
  { path: '/player', file: 'player.html', name: 'Player' },
  { path: '/docs', file: 'docs.html', name: 'API' },
];

/** The head of every page. */
export const HEAD = `<meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="color-scheme" content="light dark" />
    <link rel="icon" href="./pages/mark.svg" type="image/svg+xml" />
    <link rel="stylesheet" href="./pages/base.css" />
    <link rel="stylesheet" href="./pages/shell/shell.css" />
    <script type="module" src="./pages/shell/nav.ts"></script>`;

/** The header of a page: the way past it first, for whoever comes by keyboard. */
export function header(file: string, pages: readonly Page[]): string {
  const link = (page: Page): string => {
    const here = page.file === file ? ' aria-current="page"' : '';
    const href = page.path === '/player' ? '/player?account=demo-household' : page.path;
    return `<a data-page="${page.path}" href="${href}"${here}>${page.name}</a>`;
  };
  return `<a class="skip" href="#main">Skip to the content</a>
    <header class="bar">
      <a class="brand" href="/"><img src="./pages/mark.svg" alt="" /> pulsegate</a>
      <nav aria-label="Pages">
        ${pages.map(link).join('\n        ')}
      </nav>
    </header>`;
}

/** Fills in what a page leaves to be filled in: `<!-- head -->` and `<!-- header -->`. */
export function dressed(html: string, file: string, pages: readonly Page[]): string {
  for (const mark of ['<!-- head -->', '<!-- header -->']) if (!html.includes(mark)) throw new Error(`${file} has no ${mark}`);
  return html.replace('<!-- head -->', HEAD).replace('<!-- header -->', header(file, pages));
}
