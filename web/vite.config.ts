import { defineConfig } from 'vite';

// `npm run dev` serves the pages with hot reload against a running pulsegate.
const node = process.env.PULSEGATE_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  appType: 'mpa',
  server: { proxy: { '/v1': node, '/openapi.json': node } },
  build: {
    // The pages run under `default-src 'self'`, which a data: URI is not.
    assetsInlineLimit: 0,
    // swagger-ui is one file of this size and only the API page loads it.
    chunkSizeWarningLimit: 2_000,
    rolldownOptions: { input: ['index.html', 'player.html', 'projections.html', 'docs.html', 'signed-out.html'] },
  },
  plugins: [
    {
      // The backend serves the pages without their extension; so does the dev server.
      name: 'pages-without-extension',
      configureServer(server) {
        server.middlewares.use((request, _response, next) => {
          request.url = request.url?.replace(/^\/(player|projections|docs|signed-out)(?=\?|$)/, '/$1.html');
          next();
        });
      },
    },
  ],
});
