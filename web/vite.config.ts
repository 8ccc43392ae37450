import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';
import { dressed, PAGES } from './pages/shell/pages.js';

// `npm run dev` serves the pages with hot reload against a running pulsegate.
const node = process.env.PULSEGATE_URL ?? 'http://127.0.0.1:8080';
const pages = PAGES.filter(({ file }) => existsSync(fileURLToPath(new URL(file, import.meta.url))));

export default defineConfig({
  appType: 'mpa',
  server: { proxy: { '/v1': node, '/openapi.json': node } },
  build: {
    // The pages run under `default-src 'self'`, which a data: URI is not.
    assetsInlineLimit: 0,
    // swagger-ui is one file of this size and only the API page loads it.
    chunkSizeWarningLimit: 2_000,
    rolldownOptions: { input: [...pages.map(({ file }) => file), 'signed-out.html'] },
  },
  plugins: [
    {
      name: 'one-header-for-all-pages',
      transformIndexHtml: { order: 'pre', handler: (html, { filename }) => dressed(html, basename(filename), pages) },
    },
    {
      // The backend serves the pages without their extension; so does the dev server.
      name: 'pages-without-extension',
      configureServer(server) {
        server.middlewares.use((request, _response, next) => {
          const page = pages.find(({ path }) => path !== '/' && (request.url ?? '').split('?')[0] === path);
          if (page !== undefined) request.url = request.url?.replace(page.path, `/${page.file}`);
          request.url = request.url?.replace(/^\/signed-out(?=\?|$)/, '/signed-out.html');
          next();
        });
      },
    },
  ],
});
