import 'swagger-ui-dist/swagger-ui.css';
import './docs.css';
import { SwaggerUIBundle } from './swagger.js';
import { byId, setText } from './dom.js';

const wait = byId('docs-wait');
const dark = matchMedia('(prefers-color-scheme: dark)');
const theme = (): void => void document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', theme);
theme();

// Read here rather than by the viewer, whose own word for a node that doesn't answer is a stack trace.
try {
  const response = await fetch('/openapi.json');
  if (!response.ok) throw new Error(`status ${response.status}`);
  SwaggerUIBundle({
    spec: (await response.json()) as object,
    domNode: byId('docs'),
    deepLinking: true,
    docExpansion: 'list',
    defaultModelsExpandDepth: 0,
    defaultModelExpandDepth: 3,
    displayRequestDuration: true,
    tryItOutEnabled: false,
    validatorUrl: null,
  });
  wait.hidden = true;
} catch (error) {
  setText(wait, `/openapi.json can't be read from this node (${error instanceof Error ? error.message : error}). Reload to try again.`);
}
