import 'swagger-ui-dist/swagger-ui.css';
import './docs.css';
import { SwaggerUIBundle } from './swagger.js';

const dark = matchMedia('(prefers-color-scheme: dark)');

/** Shows the description of the API with a form for each request. */
export async function open(element: HTMLElement): Promise<void> {
  const theme = (): void => void document.documentElement.classList.toggle('dark-mode', dark.matches);
  dark.addEventListener('change', theme);
  theme();
  // Read here rather than by the viewer, whose own word for a node that doesn't answer is a stack trace.
  const response = await fetch('/openapi.json');
  if (!response.ok) throw new Error(`status ${response.status}`);
  const spec = (await response.json()) as object;
  element.replaceChildren();
  SwaggerUIBundle({
    spec,
    domNode: element,
    deepLinking: true,
    docExpansion: 'list',
    defaultModelsExpandDepth: 0,
    defaultModelExpandDepth: 3,
    displayRequestDuration: true,
    tryItOutEnabled: false,
    validatorUrl: null,
  });
}
