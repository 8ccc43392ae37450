import bundle from 'swagger-ui-dist/swagger-ui-es-bundle.js';

/** The one call of swagger-ui that the page makes; the package brings no types. */
export const SwaggerUIBundle = bundle as (options: {
  spec: object;
  domNode: HTMLElement;
  deepLinking: boolean;
  docExpansion: 'list' | 'full' | 'none';
  defaultModelsExpandDepth: number;
  defaultModelExpandDepth: number;
  displayRequestDuration: boolean;
  tryItOutEnabled: boolean;
  validatorUrl: string | null;
}) => unknown;
