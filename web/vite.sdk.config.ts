import { defineConfig } from 'vite';

export default defineConfig({
  publicDir: false,
  build: {
    outDir: 'dist/sdk',
    emptyOutDir: true,
    sourcemap: true,
    target: 'es2022',
    lib: {
      entry: 'sdk/pulsegate.ts',
      name: 'Pulsegate',
      formats: ['es', 'iife'],
      fileName: (format) => (format === 'es' ? 'pulsegate.js' : 'pulsegate.iife.js'),
    },
  },
});
